/** Parts of a broker start in order and stop in reverse, even if one of them fails half-way. */
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { readStore } from './harness/audit.ts';
import { startHarness } from './harness/broker.ts';

it('stops what it had started when a part fails half-way, and the next broker can start', async () => {
  let fails = false;
  const harness = await startHarness({
    parts: () => ({
      // Called when store, audit log and sessions have been started, and before anything listens.
      onPolicyDecision: () => {
        if (fails) throw new Error('half-way');
        return () => undefined;
      },
    }),
  });
  onTestFinished(harness.stop);

  fails = true;
  await expect(harness.restart()).rejects.toThrow('half-way');
  // The store is free again, and has a start and a stop of each of the two.
  const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
  const actions = audit.map(({ action }) => action).filter((action) => action.startsWith('broker.'));
  expect(actions).toEqual(['broker.start', 'broker.stop', 'broker.start', 'broker.stop']);

  fails = false;
  await harness.restart();
  expect((await harness.operatorCall('/readyz')).status).toBe(200);
});
