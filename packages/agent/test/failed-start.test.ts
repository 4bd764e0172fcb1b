/** Start of an agent in which one part fails, which must leave none of the earlier parts behind. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { surroundingsOfAgent } from './world.ts';

vi.mock('../src/hosts/loopback-names.ts', () => ({
  LoopbackNames: class {
    constructor() {
      throw new Error('no names today');
    }
  },
}));

test('leaves no Envoy and no control socket if the agent fails before it requests a session', async () => {
  const { start, runtimeDirectory, broker } = await surroundingsOfAgent();
  for (let n = 0; n < 2; n++) {
    await expect(start()).rejects.toThrow('no names today');
    expect(existsSync(join(runtimeDirectory, 'agent.sock'))).toBe(false);
    expect(processesWith(runtimeDirectory)).toEqual([]);
  }
  expect(broker.sessions.size).toBe(0);
});

function processesWith(text: string): string[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(commandLine)
    .filter((line) => line.includes(text));
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // the process has just ended
  }
}
