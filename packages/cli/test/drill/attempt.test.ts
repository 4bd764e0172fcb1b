import { describe, expect, test } from 'vitest';
import {
  type Attempt,
  attemptAfterCause,
  attemptAgain,
  attemptBeforeCause,
  type Verdict,
} from '../../src/drill/attempt.ts';

const TAKEN: Verdict = { verdict: 'taken', how: 'HTTP 200' };
const REFUSED: Verdict = { verdict: 'refused', how: '403 tunnel_session_unknown' };
const UNCLEAR: Verdict = { verdict: 'unclear', how: 'no answer' };

/** Gives these verdicts in turn, the last for ever. */
function attempt(...verdicts: (Verdict | Error)[]): Attempt {
  const left = [...verdicts];
  return {
    layer: 'edge',
    tried: 'SVID',
    pause: 1,
    use: async () => {
      const next = left.length > 1 ? left.shift()! : left[0]!;
      if (next instanceof Error) throw next;
      return next;
    },
  };
}
const NO_PATIENCE = { limit: 0, between: async () => undefined };
const after = (one: Attempt) => attemptAfterCause([one], new Map(), performance.now(), 60);

describe('a credential that is used after its session has ended is', () => {
  test('dead when it is refused', async () => {
    expect(await after(attempt(REFUSED))).toMatchObject([{ outcome: 'dead', how: REFUSED.how, limit_ms: 60 }]);
  });

  test('dead when it is refused within the limit, with the time of that', async () => {
    const [row] = await after(attempt(TAKEN, TAKEN, REFUSED));
    expect(row).toMatchObject({ outcome: 'dead' });
    expect(row!.ms).toBeGreaterThan(0);
  });

  test('stale when it is accepted beyond the limit', async () => {
    expect(await after(attempt(TAKEN))).toMatchObject([{ outcome: 'stale', how: TAKEN.how }]);
  });

  test('never dead for want of an answer', async () => {
    expect(await after(attempt(UNCLEAR))).toMatchObject([{ outcome: 'broken' }]);
    expect(await after(attempt(new Error('ECONNREFUSED')))).toMatchObject([{ outcome: 'broken', how: 'ECONNREFUSED' }]);
    expect(await attemptAgain([attempt(UNCLEAR)], new Map())).toMatchObject([{ outcome: 'broken' }]);
  });

  test('not tried when it did not work while the session lived: its end would prove nothing', async () => {
    const broken = attempt(REFUSED);
    const { rows, unfit } = await attemptBeforeCause([broken], NO_PATIENCE);
    expect(rows).toEqual([]);
    const [row] = await attemptAfterCause([broken], unfit, performance.now(), 60);
    expect(row).toMatchObject({ outcome: 'not_tried' });
    expect(row!.how).toContain(REFUSED.how);
    expect(await attemptAgain([broken], unfit)).toEqual([]);
  });

  test('awaited while the mesh does not know of it yet', async () => {
    const late = attempt(REFUSED, UNCLEAR, TAKEN);
    let waited = 0;
    const between = async () => {
      waited += 1;
    };
    const { rows, unfit } = await attemptBeforeCause([late], { limit: 5_000, between });
    expect(rows).toMatchObject([{ outcome: 'lives' }]);
    expect(unfit.size).toBe(0);
    expect(waited).toBe(2);
  });

  test('stale again when it works again after a rebuild', async () => {
    expect(await attemptAgain([attempt(TAKEN)], new Map())).toMatchObject([{ part: 'rebuild', outcome: 'stale' }]);
  });
});
