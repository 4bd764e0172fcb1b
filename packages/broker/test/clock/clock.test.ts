import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { monotonicClock } from '../../src/admin/approval/webhook/deliver.ts';
import { uuidv7 } from '../../src/base/clock/clock.ts';

it('names of a rising clock are in order, even within a millisecond or after the clock is set back', () => {
  const times = [5_000, 5_000, 5_000, 4_000, 4_999, 9_000];
  const left = [...times];
  const clock = monotonicClock(() => left.shift()!);
  const ids = times.map(() => uuidv7(clock, randomBytes));
  expect(ids).toEqual(ids.toSorted());
  expect(new Set(ids.map((id) => id.slice(0, 13))).size).toBe(times.length);
  // It is no further ahead than it has to be.
  expect(Number.parseInt(ids.at(-1)!.slice(0, 13).replace('-', ''), 16)).toBe(9_000);
});
