/**
 * Plays the cloud around a cluster: `node lab/src/cluster/cloud/main.ts DIR URL`, in the network namespace of the node.
 *
 * A Service of type LoadBalancer gets an address of the internet. The node answers to it, and kube-proxy does the rest, so that the
 * balancer works on layer 4 and keeps the client's address with `externalTrafficPolicy: Local`; health checks are not played, there
 * is one node. Claims of the default StorageClass get disks. Names of annotation `external-dns.alpha.kubernetes.io/hostname` become known to the internet's name server.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectKubernetes } from '../../kubernetes.ts';
import { nodePath } from '../node/namespaces.ts';
import { addressChanges, assignAddresses, namesOf, type ServiceObject } from './assign.ts';
import { lookAfterDisks } from './disks.ts';
import { writeInternetNames } from './names.ts';

const INTERVAL_MS = 500;

const [dir = '', url = ''] = process.argv.slice(2);
const kubernetes = connectKubernetes(url, join(dir, 'admin.token'), join(dir, 'tls/ca.crt'));
let told = '';
process.stdout.write('the cloud is open\n');
for (;;) {
  // Kubernetes may be unavailable for a while: the cloud keeps running.
  for (const work of [lookAfterServices, () => lookAfterDisks(kubernetes, nodePath(dir, 'disks'))])
    await work().catch((error: Error) => process.stderr.write(`${error.message}\n`));
  await sleep(INTERVAL_MS);
}

async function lookAfterServices(): Promise<void> {
  const { items } = (await kubernetes.call('GET', '/api/v1/services')) as { items: ServiceObject[] };
  const wanted = assignAddresses(items);
  const { add, remove } = addressChanges(new Set(addressesOfNode()), new Set(wanted.values()));
  for (const address of remove) link('del', address);
  for (const address of add) link('add', address);
  for (const item of items) {
    const { namespace, name } = item.metadata;
    const address = wanted.get(`${namespace}/${name}`);
    if (!address || item.status?.loadBalancer?.ingress?.[0]?.ip === address) continue;
    process.stdout.write(`${namespace}/${name} has the address ${address}\n`);
    const status = { loadBalancer: { ingress: [{ ip: address, ipMode: 'VIP' }] } };
    const path = `/api/v1/namespaces/${namespace}/services/${name}/status`;
    await kubernetes.call('PATCH', path, { status }, 'application/merge-patch+json');
  }
  const names = namesOf(items, wanted);
  const text = JSON.stringify([...names]);
  if (text !== told) writeInternetNames(dir, names);
  told = text;
}

function link(verb: 'add' | 'del', address: string): void {
  execFileSync('ip', ['addr', verb, `${address}/32`, 'dev', 'internet']);
}

function addressesOfNode(): string[] {
  const text = execFileSync('ip', ['-4', '-o', 'addr', 'show', 'dev', 'internet'], { encoding: 'utf8' });
  return [...text.matchAll(/inet ([\d.]+)\//g)].map(([, address]) => address!);
}
