/**
 * Files of a running cluster:
 *
 *     /var/lib/meshpass-cluster/NAME/cluster.json  name, subnet, boot, whether `up` has finished
 *                                    kubeconfig    the administrator's
 *                                    node/         the node's disk: containerd, kubelet, etcd
 *                                    units/ holders/ hosts/ logs/ tls/   as in a lab
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from '../error.ts';

const ROOT = '/var/lib/meshpass-cluster';
const SUBNETS = 250;

export interface ClusterRecord {
  readonly name: string;
  readonly subnet: number;
  /** Id of the machine's boot. */
  readonly boot: string;
  /** False while `up` is under way, and after an `up` that did not end. */
  readonly complete: boolean;
  readonly versions: Readonly<Record<string, string>>;
}

export function clusterDir(name: string): string {
  return join(ROOT, name);
}

export function readCluster(name: string): ClusterRecord | undefined {
  const file = join(clusterDir(name), 'cluster.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ClusterRecord) : undefined;
}

export function writeCluster(record: ClusterRecord): void {
  mkdirSync(clusterDir(record.name), { recursive: true, mode: 0o755 });
  writeFileSync(join(clusterDir(record.name), 'cluster.json'), JSON.stringify(record, null, 2));
}

/** Removes the folder of a cluster, and that of all clusters when it is empty. */
export function removeCluster(name: string): void {
  rmSync(clusterDir(name), { recursive: true, force: true });
  if (existsSync(ROOT) && readdirSync(ROOT).length === 0) rmSync(ROOT, { recursive: true });
}

/** Names of all clusters that left something, running or not. */
export function clusterNames(): string[] {
  return existsSync(ROOT) ? readdirSync(ROOT) : [];
}

/** The lowest subnet that no cluster has. Call it holding the lock `cluster-subnets` until the record is written. */
export function freeClusterSubnet(): number {
  const taken = new Set(clusterNames().map((name) => readCluster(name)?.subnet));
  for (let subnet = 1; subnet <= SUBNETS; subnet += 1) if (!taken.has(subnet)) return subnet;
  throw new LabError('lab_start', `All ${SUBNETS} subnets are in use by clusters; take some down.`);
}
