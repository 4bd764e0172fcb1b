/** Traffic that the judge of chaos accepts, and traffic that it does not (test/chaos/traffic.ts). */
import { expect, it } from 'vitest';
import type { Failure } from './member.ts';
import { judgeTraffic, type Row, type Traffic } from './traffic.ts';

const T = Date.parse('2026-11-24T12:00:00Z');
const at = (seconds: number) => T + seconds * 1_000;
const row = (seconds: number, more: Partial<Row>): Row => ({
  seq: '1',
  time: new Date(at(seconds)).toISOString(),
  action: 'tunnel',
  outcome: 'ended',
  session_id: 'one',
  detail: null,
  reason: '',
  code: null,
  ...more,
});
const closed = (seconds: number, cause: string) =>
  row(seconds, { action: 'session.close', detail: JSON.stringify({ cause }) });
const failure = (from: number, to: number, answered: number): Failure => {
  return { from: at(from), at: at(to), answeredAt: at(answered), why: 'agent_edge_unreachable' };
};
const judge = (traffic: Partial<Traffic>, ...failures: Failure[]) =>
  judgeTraffic({
    rows: [],
    over: [],
    ordered: new Map(),
    unanswered: new Map(),
    edgeDown: [],
    events: [],
    sessions: { one: { calls: 1, failures } },
    ...traffic,
  }).problems;

const edgeDown = [{ from: at(10), to: at(12) }];
const unanswered = new Map([['one', [{ from: at(10), to: at(12) }]]]);

it('excuses a call that fails while the edge is down, and until the session is back, for half a minute', () => {
  expect(judge({ edgeDown }, failure(9, 11, 8))).toEqual([]);
  expect(judge({ edgeDown }, failure(20, 27, 8))).toEqual([]);
  expect(judge({ edgeDown }, failure(20, 27, 18))).toHaveLength(1);
  expect(judge({ edgeDown }, failure(43, 44, 8))).toHaveLength(1);
  expect(judge({}, failure(9, 11, 8))).toHaveLength(1);
});

it('excuses a call after the end of its session, and one that an unanswered order may have cut', () => {
  const over = { over: ['one'], ordered: new Map([['one', new Set(['operator'])]]), rows: [closed(5, 'operator')] };
  expect(judge(over, failure(4, 6, 3))).toEqual([]);
  expect(judge(over, failure(3, 4, 2))).toHaveLength(1);
  expect(judge({ unanswered }, failure(11, 14, 8))).toEqual([]);
  expect(judge({ unanswered }, failure(16, 17, 8))).toHaveLength(1);
});

it('excuses no cut of a live session by the edge, even if its agent has reconnected', () => {
  const cut = row(11, { code: 'session_closed' });
  expect(judge({ rows: [cut] })).toHaveLength(1);
  expect(judge({ rows: [cut], edgeDown })).toHaveLength(1);
  expect(judge({ rows: [cut], unanswered })).toEqual([]);
  expect(judge({ rows: [cut, closed(10, 'operator')] })).toEqual([]);
  expect(judge({ rows: [row(11, {}), row(11, { code: 'tunnel_idle' })] })).toEqual([]);
});

it('wants a cause for each end', () => {
  expect(judge({ over: ['one'] })).toHaveLength(1);
  const replaced = { over: ['one'], rows: [closed(5, 'replaced')] };
  const ordered = new Map([['one', new Set(['operator'])]]);
  expect(judge(replaced)).toHaveLength(1);
  expect(judge({ ...replaced, ordered })).toHaveLength(1);
  expect(judge({ ...replaced, ordered, unanswered })).toEqual([]);
});
