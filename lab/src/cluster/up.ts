/** Starts a cluster. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeTestCertificates } from '../certificates.ts';
import { type ClusterTools, ensureClusterTools } from '../install/tools.ts';
import { connectKubernetes } from '../kubernetes.ts';
import { withLock } from '../lock.ts';
import { appUnits } from '../mesh/apps.ts';
import { enterHost } from '../network/enter.ts';
import { must } from '../run.ts';
import { bootId } from '../state.ts';
import { isAlive, mendUnit, runUnit, startUnit, type Unit, unitNames, unitOf, waitReady } from '../unit.ts';
import { nameServerUnit } from './cloud/names.ts';
import { down } from './down.ts';
import { buildImages } from './images/build.ts';
import { loadImages } from './images/load.ts';
import { createClusterNetwork } from './network.ts';
import { makeCgroups } from './node/cgroups.ts';
import { controlPlaneUnits, writeKubeconfigs } from './node/control-plane.ts';
import { kubeletUnits } from './node/kubelet.ts';
import { nodeUnit, writeNodeFiles } from './node/namespaces.ts';
import { runtimeUnit } from './node/runtime.ts';
import { type ClusterPlan, INTERNET, NODE, planCluster, SERVICE_RANGE } from './plan.ts';
import { installBasics, installMesh, installShop, waitForShop } from './software.ts';
import { type ClusterRecord, clusterDir, freeClusterSubnet, readCluster, writeCluster } from './state.ts';

const CLOUD = fileURLToPath(new URL('cloud/main.ts', import.meta.url));

/**
 * Call it holding the cluster's lock. A complete running cluster stays; other remains of that name are taken down first.
 * @returns the record of a cluster of which everything is ready
 */
export async function up(name: string, progress: (line: string) => void): Promise<ClusterRecord> {
  const tools = await ensureClusterTools(progress);
  const images = await buildImages(tools, process.execPath, progress);
  const found = readCluster(name);
  if (found?.complete && found.boot === bootId() && isAlive(clusterDir(name), NODE)) {
    await mend(clusterDir(name));
    return found;
  }
  if (await down(name)) progress(`took down what was left of cluster ${name}`);
  const began = performance.now();
  const record = await withLock('cluster-subnets', async () => {
    const { versions } = tools;
    const made = { name, subnet: freeClusterSubnet(), boot: bootId(), complete: false, versions };
    writeCluster(made);
    return made;
  });
  const plan = planCluster(name, record.subnet);
  await start(clusterDir(name), plan, tools, images.archive, progress);
  const complete = { ...record, complete: true };
  writeCluster(complete);
  progress(`cluster ${name} is up after ${seconds(began)} s`);
  return complete;
}

/** A cluster that runs gets back what died in it. Pods are the kubelet's business. */
async function mend(dir: string): Promise<void> {
  const units = unitNames(dir).flatMap((unit) => unitOf(dir, unit) ?? []);
  await Promise.all(units.map((unit) => mendUnit(dir, unit)));
}

async function start(
  dir: string,
  plan: ClusterPlan,
  tools: ClusterTools,
  archive: string,
  progress: (line: string) => void,
): Promise<void> {
  progress('starting the node, its container runtime and the Kubernetes API');
  const { node, github } = plan.hosts;
  const firstService = SERVICE_RANGE.replace(/0\/\d+$/, '1');
  await Promise.all([
    createClusterNetwork(plan),
    writeTestCertificates(
      join(dir, 'tls'),
      ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', node.ip, firstService],
      {
        [NODE]: { alternatives: [NODE, node.ip] },
        'kubelet-client': { client: { user: 'kube-apiserver', group: 'system:masters' } },
      },
    ),
  ]);
  await answerForwarding(github.netns);
  makeCgroups(plan.cgroup);
  writeKubeconfigs(dir, plan);
  writeNodeFiles(dir);
  await runUnit(dir, nodeUnit(dir, plan));

  const control = controlPlaneUnits(dir, plan, tools);
  startUnit(dir, control.etcd);
  startUnit(dir, control.apiserver);
  const runtime = runUnit(dir, runtimeUnit(dir, plan)).then(() => loadImages(dir, archive));
  const outside = startOutside(dir, plan, tools);
  for (const under of [runtime, outside]) under.catch(() => {}); // awaited below
  await waitReady(dir, control.etcd);
  await waitReady(dir, control.apiserver);
  startUnit(dir, control.controllers);
  startUnit(dir, control.scheduler);
  await runtime;
  const { kubelet, proxy, policies } = kubeletUnits(dir, plan, tools);
  await runUnit(dir, kubelet);
  const kubernetes = connectKubernetes(`https://${node.ip}:6443`, join(dir, 'admin.token'), join(dir, 'tls/ca.crt'));
  await nodeIsThere(kubernetes.call);
  await Promise.all([runUnit(dir, proxy), runUnit(dir, policies), installBasics(dir, tools)]);
  await Promise.all([outside, runUnit(dir, cloudUnit(dir, plan)), waitReady(dir, control.controllers)]);

  progress('installing Istio from its charts');
  await installMesh(dir, tools);
  progress('installing the sample shop');
  await installShop(dir, tools);
  await waitForShop(dir, tools);
}

/** The internet: its name server, and its hosts beside the cluster. */
async function startOutside(dir: string, plan: ClusterPlan, tools: ClusterTools): Promise<void> {
  const { github, workspace } = plan.hosts;
  const units = [
    nameServerUnit(dir, plan, tools.cluster.coredns),
    ...appUnits(dir, [github, workspace], process.execPath),
  ];
  await Promise.all(units.map((unit) => runUnit(dir, unit)));
}

/** Forwarded ports are on port 443 of an address of their own. */
async function answerForwarding(netns: string): Promise<void> {
  await must(['ip', '-n', netns, 'addr', 'add', `${INTERNET.forwarding}/32`, 'dev', 'internet'], 'lab_start');
  // biome-ignore format: one rule
  const rule = ['-t', 'nat', '-A', 'PREROUTING', '-d', INTERNET.forwarding, '-p', 'tcp', '--dport', '443', '-j', 'REDIRECT', '--to-ports', '8444'];
  await must(enterHost(netns, ['iptables', ...rule]), 'lab_start');
}

function cloudUnit(dir: string, plan: ClusterPlan): Unit {
  const { ip, netns } = plan.hosts.node;
  return {
    name: 'cloud',
    host: 'internet',
    netns,
    argv: [process.execPath, CLOUD, dir, `https://${ip}:6443`],
    env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, HOME: dir },
    cwd: dir,
    ready: { log: 'the cloud is open' },
  };
}

/** kube-router reads its node once, when it starts. */
async function nodeIsThere(call: (method: string, path: string) => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      await call('GET', `/api/v1/nodes/${NODE}`);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function seconds(began: number): string {
  return ((performance.now() - began) / 1000).toFixed(1);
}
