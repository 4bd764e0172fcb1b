/** A part of the agent that fails to close, which must neither hide errors nor prevent others from closing. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { surroundingsOfAgent } from '../world.ts';

vi.mock('../../src/hosts/loopback-names.ts', () => ({
  LoopbackNames: class {
    notes = [];
    write() {}
    isNamed() {
      return false;
    }
    remove() {
      throw new Error('the hosts file is gone');
    }
  },
}));

test('reports the refusal of an agent even if its names cannot be removed', async () => {
  const events: string[] = [];
  const { start, runtimeDirectory } = await surroundingsOfAgent({
    adjust: (broker) => {
      broker.tamper = (call, answer) => {
        if (call !== 'POST /token') return;
        Object.assign(answer, {
          status: 403,
          json: { error_code: 'access_none', error_description: 'Nothing is granted.' },
        });
      };
    },
    log: (event) => events.push(event),
  });
  await expect(start()).rejects.toMatchObject({ code: 'access_none' });
  expect(events).toContain('close_failed');
  expect(existsSync(join(runtimeDirectory, 'agent.sock'))).toBe(false);
});
