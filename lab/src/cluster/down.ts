/** Takes a cluster down in any state, including the remains of a crash. */
import { existsSync } from 'node:fs';
import { destroyHosts, list } from '../network/destroy.ts';
import { unitPid } from '../unit.ts';
import { removeCgroups } from './node/cgroups.ts';
import { NODE, planCluster } from './plan.ts';
import { clusterDir, readCluster, removeCluster } from './state.ts';

/** Call it holding the cluster's lock. @returns whether there was anything */
export async function down(name: string): Promise<boolean> {
  const record = readCluster(name);
  const { prefix, cgroup, link } = planCluster(name, record?.subnet ?? 0);
  const something = existsSync(clusterDir(name)) || list('/run/netns', prefix).length > 0;
  // With the node's first process the kernel ends all others of the node, and frees their mounts, links and rules.
  const node = unitPid(clusterDir(name), NODE);
  if (node !== undefined) process.kill(node, 'SIGKILL');
  await destroyHosts(prefix, record && link);
  await removeCgroups(cgroup);
  removeCluster(name);
  return something;
}
