/** A recorded loss stays valid despite doubtful events, which a holder of the stream's token can send at will. */
import { describe, expect, it } from 'vitest';
import { createLosses, type Fact, LOSS_RETENTION_SECONDS } from '../../../src/attest/github/losses.ts';

const member = (id: number): Fact => ({
  kind: 'member',
  organization: 'acme',
  user: { id, login: `user-${id}` },
});

describe('the record of losses', () => {
  let now = 1_000_000_000_000;

  it('forgets no loss for 60,000 doubts', () => {
    const losses = createLosses(() => now);
    losses.lose(member(1));
    for (let n = 0; n < 60_000; n++) losses.doubt({ codespace: `space-${n}` });
    expect(losses.isLost(member(1))).toBe(true);
    expect(losses.isUnsettled(member(1))).toBe(true);
  });

  it('holds answers from before against doubts that it has forgotten', () => {
    const losses = createLosses(() => now);
    const asked = losses.now();
    losses.doubt({ userId: 1 });
    const after = losses.now();
    expect(losses.since(member(1), after)).toBe(false);
    for (let n = 0; n < 60_000; n++) losses.doubt({ codespace: `space-${n}` });
    expect(losses.since(member(1), asked)).toBe(true);
  });

  it('forgets a loss only once no answer can depend on it, and makes room only by that', () => {
    const losses = createLosses(() => now, { lossCapacity: 3 });
    losses.lose(member(1));
    losses.lose(member(2));
    now += 1_000;
    losses.lose(member(1));
    now += (LOSS_RETENTION_SECONDS - 1) * 1000 + 999;
    expect([1, 2].map((id) => losses.isLost(member(id)))).toEqual([true, true]);
    now += 1;
    expect([1, 2].map((id) => losses.isLost(member(id)))).toEqual([true, false]);
    for (const id of [3, 4]) losses.lose(member(id));
    expect([1, 2, 3, 4, 5].map((id) => losses.isLost(member(id)))).toEqual([true, false, true, true, false]);
  });

  it('treats every answer from before a loss without room as lost', () => {
    const losses = createLosses(() => now, { lossCapacity: 3 });
    const asked = losses.now();
    for (const id of [1, 2, 3]) losses.lose(member(id));
    now += 60_000;
    expect(losses.isLost(member(9))).toBe(false);
    losses.lose(member(4));
    // The first was evicted for it, so its subject is unknown.
    const forgotten = Math.floor((now - 60_000) / 1000);
    for (const id of [1, 9]) {
      expect(losses.isLost(member(id), forgotten)).toBe(true);
      expect(losses.isLost(member(id), forgotten + 1)).toBe(false);
      expect(losses.since(member(id), asked)).toBe(true);
    }
    now += LOSS_RETENTION_SECONDS * 1000;
    expect(losses.isLost(member(9), forgotten)).toBe(false);
  });
});
