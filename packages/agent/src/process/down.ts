/** Implements `meshpass down`, which stops the agent or cleans up after an agent that has crashed. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity';
import { sendControlRequest } from '../control/control.ts';
import { writeHostsBlock } from '../hosts/hosts-file.ts';

/**
 * Stops the agent that uses the given directory, if one is running.
 * @returns whether the agent was running
 * @throws MeshpassError agent_hosts_unwritable
 */
export async function down(config: {
  readonly runtimeDirectory: string;
  readonly hostsFile: string;
}): Promise<boolean> {
  let pid: number;
  try {
    ({ pid } = await sendControlRequest<{ pid: number }>(config.runtimeDirectory, { command: 'down' }));
  } catch (error) {
    if (!(error instanceof MeshpassError) || error.code !== 'agent_not_running') throw error;
    writeHostsBlock(config.hostsFile, [], { sudo: true });
    return false;
  }
  for (let waited = 0; waited < 5000 && isProcessAlive(pid); waited += 20) await sleep(20);
  return true;
}

/**
 * Returns whether a process is running. Zombies do not count, because process 1 of a container may be slow to reap
 * them.
 */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return !existsSync('/proc/self/stat'); // without /proc (macOS), only the signal's result is available
  }
}
