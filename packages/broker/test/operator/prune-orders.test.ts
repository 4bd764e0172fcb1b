/** Refused orders to prune, each beside an accepted one. A security officer sends them, because no other role may prune. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Harness } from '../harness/broker.ts';
import { asOperator, type SignedIn, signIn, startWithOperators } from '../harness/operators.ts';

let harness: Harness;
let officer: SignedIn;
beforeAll(async () => {
  harness = await startWithOperators();
  officer = await signIn(harness, 'olga', ['security-officer']);
});
afterAll(() => harness?.stop());

const reason = 'old';
const ago = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();
const send = (body: string) => asOperator(harness, officer, { method: 'POST', path: '/audit/prune', body });

it.each([
  ['a pruning of everything until now', 'audit_retained', JSON.stringify({ before: ago(0), reason })],
  ['a pruning of what is a day too young', 'audit_retained', JSON.stringify({ before: ago(89), reason })],
  ['a pruning until a day to come', 'request_malformed', JSON.stringify({ before: ago(-1), reason })],
  [
    'a pruning that brings its own retention',
    'request_malformed',
    JSON.stringify({ before: ago(91), reason, retain: 0 }),
  ],
  ['a pruning until a number', 'request_malformed', JSON.stringify({ before: 0, reason })],
  ['a pruning until a word', 'request_malformed', JSON.stringify({ before: 'now', reason })],
  ['a pruning of two dates', 'request_malformed', `{"before":"${ago(91)}","before":"${ago(0)}","reason":"old"}`],
  ['a reason with a line break', 'request_malformed', JSON.stringify({ before: ago(91), reason: 'a\nb' })],
])('%s', async (_, code, body) => {
  expect((await send(JSON.stringify({ before: ago(91), reason }))).status).toBe(200);
  expect((await send(body)).json.error_code).toBe(code);
});
