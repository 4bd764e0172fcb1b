/** Constructs of the access file on a real mesh: each lets through exactly what it means. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codespaceProof, completed, ORDERS, until } from '../../mesh.ts';
import { type AccessLanguage, openAccessLanguage, statusOf, TRUST, WHO } from './world.ts';

let world: AccessLanguage;
beforeAll(async () => {
  world = await openAccessLanguage();
});
afterAll(() => world?.close());

describe('time windows', () => {
  const instant = (secondsFromNow: number) =>
    new Date(Date.now() + secondsFromNow * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
  const grant = (name: string, during: string) =>
    `  ${name}:\n${WHO}    to: [{service: orders.shop, port: 8080}]\n    during: [${during}]\n`;

  it('end a grant of a live session when they close, with its connections, and leave it the others', async () => {
    const closes = Date.now() + 25_000;
    world.put(
      `${TRUST}grants:\n${grant('brief', `{before: ${new Date(closes).toISOString().replace(/\.\d+Z$/, 'Z')}}`)}${grant('open', `{after: ${instant(-60)}}`)}`,
    );
    const one = await world.session('brief', 'brief');
    expect(await one.certificate('open')).toMatchObject({ status: 200 });
    await until(
      () => world.call(one, '/orders/1', { grant: 'brief' }),
      (status) => status === 200,
    );
    const { identityToken } = await one.show();
    const send = `GET /orders/1 HTTP/1.1\r\nHost: ${ORDERS}\r\nx-meshpass-token: ${identityToken}\r\n\r\n`;
    let cutAt: number;
    do {
      // Envoy winds up a connection that it had when the policies came; until the window closes another one gets in.
      const held = await one.hold({ target: ORDERS, grant: 'brief', edge: world.dataPath.meshpass.edge, send });
      expect(statusOf(held)).toBe(200);
      cutAt = await one.cut();
    } while (cutAt < closes - 1_000); // windows are bounded to the second
    // The edge no longer has that name: each grant has a principal of its own.
    expect(await world.call(one, '/orders/1', { grant: 'brief' })).toBe('edge tunnel_session_unknown');
    expect(await one.certificate('brief')).toMatchObject({ status: 403 });
    expect(await one.token()).toMatchObject({ status: 200 });
    await until(
      () => world.call(one, '/orders/1', { grant: 'open' }),
      (status) => status === 200,
    );
    const narrowed = (await world.dataPath.audit()).filter(({ action }) => action === 'session.narrow');
    expect(narrowed.at(-1)).toMatchObject({ grant_name: 'brief', outcome: 'ended' });
    const late = await world.adversary.as('late').enrol(await world.proof());
    expect(late).toMatchObject({ status: 200, json: { session: { grants: ['open'] } } });
  });

  it('add a grant when they open, and not before', async () => {
    world.put(`${TRUST}grants:\n${grant('later', `{after: ${instant(12)}}`)}`);
    const first = await until(
      async () => world.adversary.as('early').enrol(await world.proof()),
      ({ status }) => status === 403,
    );
    expect(first).toMatchObject({ json: { error_code: 'access_none' } });
    const why = (await world.dataPath.audit()).findLast(({ code }) => code === 'access_none');
    expect(why?.reason).toContain('grant later: access.yaml:9:14 the grant is not open at this time');
    const one = await world.session('early', 'later');
    await until(
      () => world.call(one, '/orders/1', { grant: 'later' }),
      (status) => status === 200,
      40,
    );
  });
});

describe('a deny list', () => {
  it('takes everything at once from people on it, and from no other person', async () => {
    const both = `    who: [{user_id: 583231}, {user_id: 583233}]\n    to: [{service: orders.shop, port: 8080}]\n`;
    world.put(`${TRUST}grants:\n  people:\n${both}`);
    const enrolled = async (owner: string) => {
      const by = world.adversary.as(owner);
      const codespace = await world.dataPath.codespace(owner);
      const answer = await until(
        () => by.enrol(codespaceProof(codespace)),
        ({ status }) => status === 200,
        40,
      );
      await completed(world.dataPath, by, answer, 'people');
      world.keepAlive(by);
      return by;
    };
    const [alice, carol] = [await enrolled('alice'), await enrolled('carol')];
    await until(
      () => world.call(alice, '/orders/1', { grant: 'people' }),
      (status) => status === 200,
      40,
    );
    world.put(`${TRUST}deny: [{user_id: 583231, reason: on leave}]\ngrants:\n  people:\n${both}`);
    await until(
      () => alice.speak('GET', '/services'),
      ({ status }) => status === 401,
    );
    expect(await world.call(alice, '/orders/1', { grant: 'people' })).toBe('edge tunnel_session_unknown');
    expect(await world.call(carol, '/orders/1', { grant: 'people' })).toBe(200);
    // A person who takes her login is not denied, and she is denied under any login.
    await world.dataPath.github.renameUser('alice', 'alice-the-second');
    const again = await world.adversary
      .as('again')
      .enrol(codespaceProof(await world.dataPath.codespace('alice-the-second')));
    expect(again).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
    const refused = (await world.dataPath.audit()).findLast(({ code }) => code === 'access_none');
    expect(refused?.reason).toMatch(/grant people: access\.yaml:5:8 denied: on leave/);
  });
});

it('no audit row and no line of the log holds a token', () => world.dataPath.expectNoSecretKept());
