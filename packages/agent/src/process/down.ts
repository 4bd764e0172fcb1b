/** `meshpass down`: ends the agent, and cleans up after one that ended without cleaning up. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import { askAgent } from '../control/control.ts';
import { writeHosts } from '../hosts/hosts-file.ts';

/** @returns whether an agent was running. @throws MeshpassError agent_hosts_unwritable */
export async function down(config: {
  readonly runtimeDirectory: string;
  readonly hostsFile: string;
}): Promise<boolean> {
  let pid: number;
  try {
    ({ pid } = await askAgent<{ pid: number }>(config.runtimeDirectory, { command: 'down' }));
  } catch (error) {
    if (!(error instanceof MeshpassError) || error.code !== 'agent_not_running') throw error;
    writeHosts(config.hostsFile, [], { sudo: true });
    return false;
  }
  for (let waited = 0; waited < 5000 && isAlive(pid); waited += 20) await sleep(20);
  return true;
}

/** A process that has ended but that nobody has waited for is not alive: in containers process 1 may be slow at that. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return !existsSync('/proc/self/stat'); // without /proc (macOS) the signal's answer stands
  }
}
