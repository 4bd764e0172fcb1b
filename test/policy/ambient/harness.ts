/** A Pod of the ambient lab, its Service and callers, and policies that are known to be in force at ztunnel and at the waypoint. */
import { fileURLToPath } from 'node:url';
import type { Call } from '@meshpass/analysis/evaluate';
import { loadObject, type Resource } from '@meshpass/istio';
import type { Lab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { serviceObjects } from '@meshpass/lab/mesh/objects';
import { AMBIENT_NAMESPACE, WAYPOINT } from '@meshpass/lab/plan';
import { until } from '../../mesh.ts';
import { openAddresses } from '../differential/addresses.ts';
import { PEERS } from '../differential/generate-calls.ts';
import { ROOT, type World } from '../differential/generate-policies.ts';
import { makeIssuer } from '../differential/identities.ts';
import { PORTS } from '../differential/target.ts';
import { CALLERS, type Callers, openCallers } from './callers.ts';

/** The Pod is a host of the lab: `direct`, or `hello`, before whose Services the waypoint stands. */
export type Pod = 'direct' | 'hello';

/** Service of the Pod for the tests. It has the ports of the differential test's target, and one whose number in the Pod is another. */
export const SERVICE = 'probe';
export const VIP = '10.96.4.30';
/** Port of the Service that leads to `PORTS.http` of the Pod. */
export const RENUMBERED = PORTS.unknown;

/** Identities whose certificates ztunnel understands: it knows no ids with other parts than a namespace and an account. */
export const AMBIENT_PEERS = [...PEERS.filter((peer) => peer.split('/').length === 5), CALLERS.pod.principal];

const KINDS = ['authorizationpolicies', 'requestauthentications', 'peerauthentications'] as const;
const NAMESPACES = [AMBIENT_NAMESPACE, ROOT];
/** Mesh-wide PeerAuthentication of the lab among others, and what the evaluator reads. */
const READ: readonly (readonly [path: string, kinds: readonly string[]])[] = [
  ['/api/v1', ['namespaces']],
  ['/api/v1/namespaces/shop', ['pods']],
  ...NAMESPACES.flatMap((namespace) => [
    [`/api/v1/namespaces/${namespace}`, ['pods', 'services']] as const,
    [`/apis/security.istio.io/v1/namespaces/${namespace}`, KINDS] as const,
  ]),
  [`/apis/gateway.networking.k8s.io/v1/namespaces/${AMBIENT_NAMESPACE}`, ['gateways']],
  ['/apis/gateway.networking.k8s.io/v1', ['gatewayclasses']],
];

export interface Harness {
  readonly world: World;
  readonly callers: Callers;
  /** Replaces the policies by these, and waits until ztunnel and the waypoint apply them. @returns all objects, as the API server has them */
  enforce(policies: readonly KubeObject[]): Promise<readonly Resource[]>;
  close(): Promise<void>;
}

/** @param peers principals that calls may have, besides the usual ones */
export async function openHarness(lab: Lab, pod: Pod, peers: readonly string[] = []): Promise<Harness> {
  const { addresses, remove } = await openAddresses(lab);
  const issuers = await Promise.all(['https://a.test', 'https://b.test'].map(makeIssuer));
  const { ip } = lab.hosts[pod]!;
  const world: World = { issuers, addresses, destination: pod === 'hello' ? VIP : ip, peers: [CALLERS.pod.principal] };
  const callers = await openCallers(lab, [...AMBIENT_PEERS, ...peers], ip);
  const target = lab.spawn(pod, ['node', fileURLToPath(new URL('../differential/target.ts', import.meta.url))]);
  await new Promise((resolve) => target.stdout!.once('data', resolve));
  const service = serviceObjects({ hosts: lab.hosts, services: [serviceOf(pod)] });
  await lab.kubernetes.apply(...service);
  const before = await lab.kubernetes.call('GET', securityPath('peerauthentications', ROOT));
  let round = 0;

  const clear = async (): Promise<void> => {
    for (const namespace of NAMESPACES)
      for (const kind of KINDS) await lab.kubernetes.call('DELETE', securityPath(kind, namespace));
  };

  return {
    world,
    callers,
    enforce: async (policies) => {
      const mark = `mark-${++round}`;
      await clear();
      // A proxy keeps its tunnels, on which ztunnel never applies a later policy of the Pod: one that allows nothing ends them.
      await lab.kubernetes.apply(NOTHING);
      await until(
        () => connectionsOf(lab),
        (open) => open === 0,
        60,
      );
      for (const policy of policies) await lab.kubernetes.apply(policy);
      await lab.kubernetes.remove(NOTHING);
      for (const object of marks(mark, round, pod, issuers[0]!.jwks)) await lab.kubernetes.apply(object);
      await until(
        async () => policiesByPod(await ztunnelState(lab), [pod, CALLERS.pod.host]),
        ([ofPod, ofCaller]) =>
          ofPod!.includes(`${AMBIENT_NAMESPACE}/${mark}`) &&
          ofCaller!.includes(`${AMBIENT_NAMESPACE}/converted_peer_authentication_${mark}`),
        60,
      );
      if (pod === 'hello') await waitForWaypoint(lab, callers, witness(world, mark), mark);
      callers.renew();
      return readResources(lab);
    },
    close: async () => {
      callers.close();
      target.kill('SIGKILL');
      await clear();
      await lab.kubernetes.remove(...service);
      for (const { metadata, spec } of (before as { items: readonly KubeObject[] }).items)
        await lab.kubernetes.apply(policyOf('PeerAuthentication', metadata.name, metadata.namespace!, spec as object));
      await remove();
    },
  };
}

export function policyOf(kind: string, name: string, namespace: string, spec: object): KubeObject {
  return { apiVersion: 'security.istio.io/v1', kind, metadata: { name, namespace }, spec };
}

function securityPath(kind: string, namespace: string): string {
  return `/apis/security.istio.io/v1/namespaces/${namespace}/${kind}`;
}

function serviceOf(pod: Pod): Parameters<typeof serviceObjects>[0]['services'][number] {
  const port = (name: string, number: number, targetPort = number) => ({ name, port: number, targetPort });
  return {
    namespace: AMBIENT_NAMESPACE,
    name: SERVICE,
    clusterIp: VIP,
    hosts: [pod],
    ports: [
      port('http', PORTS.http),
      port('tcp-x', PORTS.tcp),
      port('x', PORTS.undeclared),
      port('http-renumbered', RENUMBERED, PORTS.http),
    ],
    selector: { app: pod },
    ...(pod === 'hello' && { labels: { 'istio.io/use-waypoint': WAYPOINT } }),
  };
}

const NOTHING = policyOf('AuthorizationPolicy', 'nothing', AMBIENT_NAMESPACE, {});

/** Marker objects, applied last: once a proxy has them, it has earlier objects of these kinds. */
function marks(mark: string, round: number, pod: Pod, jwks: string): readonly KubeObject[] {
  const atZtunnel = ztunnelMarks(mark, round, pod);
  if (pod === 'direct') return atZtunnel;
  const targetRefs = [{ group: '', kind: 'Service', name: SERVICE }];
  const jwtRules = [{ issuer: issuerOf(mark), jwks, fromHeaders: [{ name: 'x-mark' }] }];
  // With its port, because on others a path that is not tested would refuse everything.
  const rules = [{ to: [{ operation: { paths: [`/${mark}`], ports: [String(PORTS.http)] } }] }];
  return [
    ...atZtunnel,
    policyOf('RequestAuthentication', mark, AMBIENT_NAMESPACE, { targetRefs, jwtRules }),
    policyOf('AuthorizationPolicy', `${mark}-path`, AMBIENT_NAMESPACE, { targetRefs, action: 'DENY', rules }),
  ];
}

function issuerOf(mark: string): string {
  return `https://${mark}.test`;
}

function ztunnelMarks(mark: string, round: number, pod: Pod): readonly KubeObject[] {
  const selecting = (app: string) => ({ selector: { matchLabels: { app } } });
  const from = [{ source: { principals: [`cluster.local/ns/nowhere/sa/${mark}`] } }];
  // Under any other mode istiod sends no policy for some modes of the mesh.
  const strict = { mtls: { mode: 'STRICT' }, portLevelMtls: { [40_000 + round]: { mode: 'PERMISSIVE' } } };
  return [
    // Of another Pod, because only the oldest of a Pod counts.
    policyOf('PeerAuthentication', mark, AMBIENT_NAMESPACE, { ...selecting(CALLERS.pod.host), ...strict }),
    policyOf('AuthorizationPolicy', mark, AMBIENT_NAMESPACE, {
      ...selecting(pod),
      action: 'DENY',
      rules: [{ from }],
    }),
  ];
}

/** The parts of ztunnel's own account that the tests read. */
interface ZtunnelState {
  readonly policies: readonly { readonly namespace: string; readonly name: string }[];
  readonly workloads: readonly { readonly name: string; readonly authorizationPolicies?: readonly string[] }[];
  readonly workloadState: Readonly<Record<string, { readonly connections?: { readonly inbound: readonly unknown[] } }>>;
}

async function ztunnelState(lab: Lab): Promise<ZtunnelState> {
  const { stdout } = await lab.exec('node', ['curl', '-s', 'http://127.0.0.1:15000/config_dump']);
  return JSON.parse(stdout) as ZtunnelState;
}

async function connectionsOf(lab: Lab): Promise<number> {
  const { workloadState, policies } = await ztunnelState(lab);
  if (!policies.some(({ name }) => name === NOTHING.metadata.name)) return Number.POSITIVE_INFINITY;
  return Object.values(workloadState).reduce((sum, { connections }) => sum + (connections?.inbound.length ?? 0), 0);
}

/** Names of the policies that ztunnel has, and applies to each of the Pods besides those of their namespace. */
function policiesByPod({ policies, workloads }: ZtunnelState, pods: readonly string[]): readonly (readonly string[])[] {
  const known = new Set(policies.map(({ namespace, name }) => `${namespace}/${name}`));
  return pods.map((pod) => {
    const names = workloads.find(({ name }) => name === pod)?.authorizationPolicies ?? [];
    return names.filter((name) => known.has(name));
  });
}

/** Call that only the marker policy refuses with certainty. */
function witness({ addresses }: World, mark: string): Call {
  const http = { method: 'GET', path: `/${mark}`, authority: 'witness' };
  return { principal: AMBIENT_PEERS[0]!, sourceIp: addresses[0]!, destinationIp: VIP, port: PORTS.http, http };
}

async function waitForWaypoint(lab: Lab, callers: Callers, call: Call, mark: string): Promise<void> {
  const needles = [`policy[${mark}-path]`, issuerOf(mark)];
  const url = 'http://127.0.0.1:15000/config_dump?resource=dynamic_listeners';
  await until(
    async () => (await lab.exec('waypoint', ['curl', '-s', url])).stdout,
    (text) => needles.every((needle) => text.includes(needle)) && !text.includes('warming_state'),
    60,
  );
  // Its threads take the listener over one by one: new connections must meet it again and again.
  let met = 0;
  await until(
    async () => {
      callers.renew();
      met = (await callers.send('waypoint', call)) === 403 ? met + 1 : 0;
      return met;
    },
    (times) => times >= 4,
    60,
  );
}

async function readResources(lab: Lab): Promise<readonly Resource[]> {
  const lists = READ.flatMap(([path, kinds]) => kinds.map((kind) => `${path}/${kind}`));
  const loaded = await Promise.all(
    lists.map(async (path) => loadObject(await lab.kubernetes.call('GET', path), 'lab')),
  );
  const problems = loaded.flatMap((one) => one.problems);
  if (problems.length > 0) throw new Error(problems.map(({ message }) => message).join('; '));
  return loaded.flatMap(({ resources }) => resources);
}
