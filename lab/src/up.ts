/** Starts a lab, or the missing parts of a running one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AMBIENT } from './ambient/objects.ts';
import { startAmbient } from './ambient/start.ts';
import { writeCertificates } from './certificates.ts';
import { down } from './down.ts';
import { LabError } from './error.ts';
import { ensureAmbient, ensureGatewayApi, ensureTools, type Tools } from './install/tools.ts';
import { connectKubernetes, type KubeObject, type Kubernetes } from './kubernetes.ts';
import { withLock } from './lock.ts';
import { appUnits } from './mesh/apps.ts';
import { prepareControlPlane } from './mesh/control-plane.ts';
import { prepareDatabase } from './mesh/database.ts';
import { installGatewayApi } from './mesh/gateway-api.ts';
import { NAMESPACES, namespacesOfHosts, STRICT, serviceObjects, workloadObjects } from './mesh/objects.ts';
import { prepareProxy } from './mesh/proxy.ts';
import { createNetwork } from './network/create.ts';
import { namespacesOf } from './network/destroy.ts';
import { type Host, type Plan, planLab } from './plan.ts';
import { bootId, freeSubnet, type LabRecord, readRecord, stateDir, writeRecord } from './state.ts';
import { mendUnit, runUnit, startUnit, unitNames, unitOf, waitReady } from './unit.ts';

/** `istiod` and `ztunnel` are those of `ensureAmbient` if the lab has ambient mode. */
interface LabTools extends Tools {
  readonly ztunnel?: string;
}

interface Wanted {
  /** Optional hosts, see `planLab`. */
  readonly extra: readonly string[];
  readonly gatewayApi: boolean;
}

/**
 * Call it holding the lab's lock.
 * @returns the record of a lab of which every unit is ready
 */
export async function up(
  name: string,
  { extra, gatewayApi }: Wanted,
  progress: (line: string) => void,
): Promise<LabRecord> {
  const tools = await ensureTools(progress);
  const ambient = extra.includes('ambient') ? await ensureAmbient(progress) : {};
  const record = await startOrResume(name, extra, { ...tools, ...ambient }, progress);
  if (!gatewayApi || record.gatewayApi) return record;
  progress('installing Gateway API');
  const dir = stateDir(name);
  await installGatewayApi(connect(dir, planLab(name, record.subnet, record.extra)), await ensureGatewayApi(progress));
  const served = { ...record, gatewayApi };
  writeRecord(served);
  return served;
}

async function startOrResume(
  name: string,
  extra: readonly string[],
  tools: LabTools,
  progress: (line: string) => void,
): Promise<LabRecord> {
  const found = readRecord(name);
  if (found && (!found.complete || found.boot !== bootId() || namespacesOf(name).length === 0)) {
    progress(`taking down what is left of lab ${name}`);
    await down(name);
  } else if (found) {
    return resume(found, extra, tools, progress);
  }
  return start(name, extra, tools, progress);
}

async function start(
  name: string,
  extra: readonly string[],
  tools: LabTools,
  progress: (line: string) => void,
): Promise<LabRecord> {
  const began = performance.now();
  const record = await withLock('subnets', async () => {
    const boot = bootId();
    const { versions } = tools;
    const made = { name, subnet: freeSubnet(), boot, extra, complete: false, versions, node: process.execPath };
    writeRecord(made);
    return made;
  });
  const dir = stateDir(name);
  const plan = planLab(name, record.subnet, extra);
  await Promise.all([createNetwork(plan), writeCertificates(dir, plan)]);

  progress('starting etcd and the Kubernetes API');
  const control = prepareControlPlane(dir, plan, tools);
  startUnit(dir, control.etcd);
  startUnit(dir, control.apiserver);
  const database = startDatabase(dir, plan, tools);
  database.catch(() => {}); // awaited below; until then a failure must not end the process
  await waitReady(dir, control.etcd);
  await waitReady(dir, control.apiserver);

  progress('starting istiod');
  const kubernetes = connect(dir, plan);
  const crds = JSON.parse(readFileSync(tools.istioCrds, 'utf8')) as KubeObject[];
  const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  await Promise.all([
    ...crds.map((crd) => kubernetes.call('POST', definitions, crd)),
    kubernetes.apply(...NAMESPACES, ...(plan.ambient ? [AMBIENT] : [])),
  ]);
  startUnit(dir, control.istiod);
  startUnit(dir, control.controllers);
  const hosts = Object.values(plan.hosts);
  await kubernetes.apply(...namespacesOfHosts(hosts));
  await kubernetes.apply(...workloadObjects(hosts), ...serviceObjects(plan));
  const apps = appUnits(dir, hosts, record.node);
  for (const unit of apps) startUnit(dir, unit);
  await waitReady(dir, control.istiod);
  await kubernetes.apply(STRICT);
  if (tools.ztunnel !== undefined) {
    progress('starting ztunnel');
    await startAmbient(dir, plan, kubernetes, tools.ztunnel, progress);
  }

  progress('starting sidecars and the mesh gateway');
  await startProxies(dir, hosts, tools, kubernetes);
  await Promise.all([database, ...apps.map((unit) => waitReady(dir, unit)), waitReady(dir, control.controllers)]);

  const complete = { ...record, complete: true, gatewayApi: plan.ambient };
  writeRecord(complete);
  progress(`lab ${name} is up after ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return complete;
}

/** Completes a running lab: units that died or hang, and hosts that were not requested before. */
async function resume(
  found: LabRecord,
  extra: readonly string[],
  tools: Tools,
  progress: (line: string) => void,
): Promise<LabRecord> {
  if (extra.includes('ambient') && !found.extra.includes('ambient'))
    throw new LabError('lab_usage', `Lab ${found.name} runs without ambient mode. Take it down first.`);
  const dir = stateDir(found.name);
  const began = performance.now();
  await Promise.all(
    unitNames(dir).map(async (name) => {
      const unit = unitOf(dir, name);
      if (unit) await mendUnit(dir, unit);
    }),
  );
  const wanted = [...new Set([...found.extra, ...extra])];
  if (wanted.length > found.extra.length) {
    const plan = planLab(found.name, found.subnet, wanted);
    const added = Object.values(plan.hosts).filter(
      (host) => !(host.name in planLab(found.name, found.subnet, found.extra).hosts),
    );
    await createNetwork(plan, added);
    const kubernetes = connect(dir, plan);
    await kubernetes.apply(...namespacesOfHosts(added));
    await kubernetes.apply(...workloadObjects(added), ...serviceObjects(plan));
    await startProxies(dir, added, tools, kubernetes);
    for (const unit of appUnits(dir, added, found.node)) await runUnit(dir, unit);
  }
  const record = { ...found, extra: wanted };
  writeRecord(record);
  progress(`lab ${found.name} is up (checked in ${((performance.now() - began) / 1000).toFixed(1)} s)`);
  return record;
}

async function startProxies(dir: string, hosts: readonly Host[], tools: Tools, kubernetes: Kubernetes): Promise<void> {
  const withProxy = hosts.filter(({ workload }) => workload && workload.kind !== 'ambient');
  await Promise.all(withProxy.map(async (host) => runUnit(dir, await prepareProxy(dir, host, tools, kubernetes))));
}

async function startDatabase(dir: string, plan: Plan, tools: Tools): Promise<void> {
  const host = plan.hosts['ledger-db'];
  if (host) await runUnit(dir, await prepareDatabase(dir, host, tools.postgresBin));
}

function connect(dir: string, plan: Plan): Kubernetes {
  return connectKubernetes(`https://${plan.hosts.control?.ip}:6443`, join(dir, 'admin.token'), join(dir, 'tls/ca.crt'));
}
