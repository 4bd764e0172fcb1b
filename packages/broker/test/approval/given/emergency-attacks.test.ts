/** Attacks with an emergency: to keep access after an objection, and to act as a job, or as two people. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { asSession, type Enrolled, renewLease } from '../../harness/broker.ts';
import { CLIENT, claimsFor, OKTA, type SignInProvider, signIn, signInProvider } from '../../harness/sign-in.ts';
import { startWorld, type World } from './world.ts';

const FILE = `
trust:
  issuers:
    idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-operators}}
    okta: {issuer: '${OKTA}', audience: meshpass, signIn: {client: ${CLIENT}}}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {issuer: idp}, reason: optional, emergency: {for: 20m, within: 24h}}`;

describe('an attack on emergencies', () => {
  let world: World;
  let okta: SignInProvider;
  beforeAll(async () => {
    okta = await signInProvider();
    world = await startWorld({ parts: (clock, { idp, mesh }) => okta.parts(idp, mesh.access, clock) });
  });
  beforeEach(() => {
    world.use(FILE);
    world.harness.clockAhead += 200_000;
  });
  afterAll(() => world?.harness.stop());

  const take = async (who: Enrolled) =>
    (await world.post(who, '/approvals/emergency', { grant: 'prod', reason: 'INC-1' })).json;
  const review = async (who: Enrolled, id: string, decision = 'accept') =>
    (await world.post(who, '/approvals/review', { id, decision, reason: 'seen' })).json;
  const signedIn = async (who: Enrolled, sub: string, more = {}) => {
    const done = await signIn(world.harness, who, await okta.sign(claimsFor(world.harness, who, { sub, ...more })));
    expect(done.status).toBe(200);
  };

  it('by taking the grant again while an objection is being written gets nothing', async () => {
    const [alice, bob] = await world.people('alice', 'bob');
    const { id } = await take(alice!);
    const objection = review(bob!, id, 'object');
    while ((await world.grants(alice!)).includes('prod'));
    const again = await take(alice!);
    expect(await objection).toMatchObject({ state: 'revoked', emergency: { state: 'objected' } });
    expect(again.error_code).toBe('emergency_barred');
    expect(await world.grants(alice!)).toEqual(['dev']);
  });

  it('by a job, in whose session a sign-in has lapsed, takes nothing and asks for nothing', async () => {
    world.use(
      FILE.replace(', signIn: {client: meshpass-operators}', '').replace('by: {issuer: idp}', 'by: {issuer: okta}'),
    );
    const [job] = await world.people('job');
    expect((await take(job!)).error_code).toBe('emergency_not_offered');
    await signedIn(job!, 'one', { exp: world.harness.now() + 30 });
    expect((await world.overview(job!)).requestable).toMatchObject([{ grant: 'prod' }]);
    world.harness.clockAhead += 31_000;
    await renewLease(world.harness, job!);
    expect((await take(job!)).error_code).toBe('emergency_not_offered');
    expect((await world.post(job!, '/approvals', { grant: 'prod' })).json.error_code).toBe('approval_not_offered');
    expect((await world.overview(job!)).requestable).toEqual([]);
    expect(await world.grants(job!)).toEqual(['dev']);
  });

  it("by another workspace of a second account, of which a live session shows whose it is, reviews nothing of one's own", async () => {
    const [first, second, elsewhere, bob] = await world.people('x2', 'y2', 'y2', 'bob');
    const { id } = await take(first!);
    for (const who of [first!, second!]) await signedIn(who, 'two');
    expect((await world.overview(elsewhere!)).to_review).toEqual([]);
    for (const who of [second!, elsewhere!]) expect((await review(who, id)).error_code).toBe('approval_own');
    expect((await review(bob!, id)).emergency.state).toBe('accepted');
  });

  it('by a second account is also barred, if a sign-in after the objection shows its owner', async () => {
    const [first, second, bob] = await world.people('x1', 'y1', 'bob');
    const { id } = await take(first!);
    expect((await review(bob!, id, 'object')).emergency.state).toBe('objected');
    for (const who of [first!, second!]) await signedIn(who, 'three');
    expect((await take(second!)).error_code).toBe('emergency_barred');
    expect((await review(bob!, id)).emergency.state).toBe('accepted');
    const again = await take(second!);
    expect(again.state).toBe('approved');
    await review(bob!, again.id);
  });

  it('by a second account stays barred when the session that showed whose it is has ended', async () => {
    const [first, second, bob] = await world.people('x3', 'y3', 'bob');
    const { id } = await take(first!);
    await signedIn(first!, 'four');
    expect((await review(bob!, id, 'object')).emergency.state).toBe('objected');
    await asSession(world.harness, first!, { method: 'DELETE', path: '/session' });
    await signedIn(second!, 'four');
    expect((await take(second!)).error_code).toBe('emergency_barred');
    expect((await review(bob!, id)).emergency.state).toBe('accepted');
  });
});
