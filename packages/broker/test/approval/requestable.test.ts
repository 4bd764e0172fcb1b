/** Description of the grants that a session can request. Agents accept no text that is longer than 4,096 characters, or has several lines. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { accessFile, startWorld, type World } from './given/world.ts';

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.harness.stop());

const prod = (by: string, review: string) =>
  accessFile(`  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: ${by}, emergency: {review: ${review}}}`);
const requestable = async (text: string) => {
  world.use(text);
  const [alice] = await world.people('alice');
  return (await world.overview(alice!)).requestable[0]!;
};

it('counts the people that do not fit', async () => {
  const entry = (n: number) =>
    `{issuer: idp, when: 'subject == "idp:00u1abcdefghijklmnop${n}" && claims.department == "platform-engineering" && claims.region == "emea"'}`;
  const many = `[${Array.from({ length: 50 }, (_, n) => entry(n)).join(', ')}]`;
  const { approval, emergency } = await requestable(prod(many, many));
  for (const text of [approval, emergency!.review]) {
    expect(text).toContain('idp:00u1abcdefghijklmnop0"');
    expect(text).toMatch(/ \.\.\. and \d+ more/);
    const named = text.match(/department/g)!.length;
    expect(named + Number(/and (\d+) more/.exec(text)![1])).toBe(50);
  }
  expect(approval).toMatch(/, at most 1h$/);
});

it('puts an expression of several lines into one', async () => {
  const lines = `{issuer: idp, when: "subject == 'idp:bob' ||\\n  subject == 'idp:carol'\\n"}`;
  const { approval, emergency } = await requestable(prod(lines, lines));
  for (const text of [approval, emergency!.review])
    expect(text).toContain("when subject == 'idp:bob' || subject == 'idp:carol'");
});

it('names the sign-in that a review of an emergency needs', async () => {
  const okta = '{issuer: okta, claims: {groups: security}}';
  const text = (review: string) => prod('{issuer: idp}', review).replace('other: {', 'okta: {signIn: {client: cli}, ');
  const hint =
    'Reviewers are identified by okta, but you are not: run "meshpass sign-in --issuer okta" first. Otherwise, no reviewer may be able to act.';
  const { approval, emergency } = await requestable(text(okta));
  expect(emergency!.review.endsWith(`. ${hint}`)).toBe(true);
  expect(approval).not.toContain('sign-in');
  expect((await requestable(text(`[${okta}, {issuer: idp}]`))).emergency!.review).not.toContain('sign-in');
});
