/** The workload under test on a host of the lab, and policies on it that are known to be in force. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Authorizer, type Call, createAuthorizer } from '@meshpass/analysis/evaluate';
import { loadObject, type MeshConfig, type Resource, viewMesh } from '@meshpass/istio';
import type { Lab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { until } from '../../mesh.ts';
import { openAddresses } from './addresses.ts';
import { makeCaller, type Seen } from './caller.ts';
import { PEERS } from './generate-calls.ts';
import { LABELS, NAMESPACE, ROOT, type World } from './generate-policies.ts';
import { identityMaker, makeIssuer } from './identities.ts';
import { PORTS } from './target.ts';

const HOST = 'orders';
const WITNESS = PEERS[0];
const KINDS = ['authorizationpolicies', 'requestauthentications', 'peerauthentications'] as const;

const SERVICE: KubeObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'probe', namespace: NAMESPACE },
  spec: {
    selector: LABELS,
    ports: [
      { name: 'http', port: 80, targetPort: PORTS.http },
      { name: 'tcp-x', port: 81, targetPort: PORTS.tcp },
      { name: 'x', port: 82, targetPort: PORTS.undeclared },
    ],
  },
};

/** How the name of an object begins that is applied a second after the others. */
export const LATER = 'a-later';

export interface Enforced {
  readonly authorizer: Authorizer;
  readonly resources: readonly Resource[];
}

export type Harness = Awaited<ReturnType<typeof openHarness>>;

/** @param peers principals that calls may have, besides the usual ones */
export async function openHarness(lab: Lab, peers: readonly string[] = []) {
  const destination = lab.hosts[HOST]!.ip;
  const { addresses, remove } = await openAddresses(lab);
  const issuers = await Promise.all(['https://a.test', 'https://b.test'].map(makeIssuer));
  const world: World = { issuers, addresses, destination };
  const make = await identityMaker(lab.dir);
  const names = [...new Set([...PEERS, ...peers])];
  const caller = makeCaller(new Map(await Promise.all(names.map(async (name) => [name, await make(name)] as const))));

  const child = lab.spawn(HOST, ['node', fileURLToPath(new URL('./target.ts', import.meta.url))]);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  await lines.next();
  const missing = async (needles: readonly string[]): Promise<readonly string[]> => {
    child.stdin!.write(`${JSON.stringify({ needles })}\n`);
    return (JSON.parse((await lines.next()).value!) as { missing: string[] }).missing;
  };
  await lab.kubernetes.apply(SERVICE);
  const before = await strict();
  let round = 0;

  /** Previous policies, to be restored. */
  async function strict(): Promise<readonly KubeObject[]> {
    const { items } = (await lab.kubernetes.call('GET', pathOf('peerauthentications', ROOT))) as {
      items: KubeObject[];
    };
    return items.map((item) => ({ ...item, apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication' }));
  }
  const clear = async (): Promise<void> => {
    for (const namespace of [NAMESPACE, ROOT])
      for (const kind of KINDS) await lab.kubernetes.call('DELETE', pathOf(kind, namespace));
  };
  const list = async (kind: string, namespace: string): Promise<readonly Resource[]> => {
    const path =
      kind === 'pods' || kind === 'services' ? `/api/v1/namespaces/${namespace}/${kind}` : pathOf(kind, namespace);
    const { resources, problems } = loadObject(await lab.kubernetes.call('GET', path), 'lab');
    if (problems.length > 0) throw new Error(problems.map(({ message }) => message).join('; '));
    return resources;
  };

  return {
    world,
    destination,
    caller,
    /**
     * Replaces the policies by these, and waits until Envoy applies them.
     * @param config of the mesh, where the lab's is not Istio's own
     * @param signs texts of Envoy's configuration by which `config` is known to be in force
     * @returns the objects as the API server has them, and what guards the workload by the evaluator's account of them
     */
    enforce: async (
      policies: readonly KubeObject[],
      config?: MeshConfig,
      signs: readonly string[] = [],
    ): Promise<Enforced> => {
      const mark = `mark-${++round}`;
      await clear();
      for (const policy of policies) {
        // Kubernetes records ages in whole seconds.
        if (policy.metadata.name.startsWith(LATER)) await nextSecond();
        await lab.kubernetes.apply(policy);
      }
      const { needles, objects } = marks(mark, round, issuers[0]!.jwks);
      for (const object of objects) await lab.kubernetes.apply(object);
      await until(
        () => missing([...needles, ...signs]),
        (left) => left.length === 0,
        60,
      );
      const resources = await Promise.all(
        [NAMESPACE, ROOT].flatMap((namespace) => [...KINDS, 'pods', 'services'].map((kind) => list(kind, namespace))),
      );
      const all = resources.flat();
      const view = viewMesh(all, config);
      const authorizer = createAuthorizer(view, view.workloads.find(({ name }) => name === HOST)!);
      // Its threads take the listener over one by one: new connections must meet it again and again.
      let met = 0;
      const plain = authorizer.peerMode(PORTS.http).mode === 'DISABLE';
      await until(
        async () => {
          caller.renew();
          met = (await caller.call(witness(destination, addresses[0]!, mark), plain)) === 403 ? met + 1 : 0;
          return met;
        },
        (times) => times >= 4,
        60,
      );
      caller.renew();
      return { authorizer, resources: all };
    },
    /** Sends a call through the real sidecar. */
    see: (authorizer: Authorizer, call: Call): Promise<Seen> =>
      caller.call(call, authorizer.peerMode(call.port).mode === 'DISABLE'),
    close: async (): Promise<void> => {
      caller.renew();
      child.kill('SIGKILL');
      await clear();
      await lab.kubernetes.remove(SERVICE);
      for (const object of before) {
        const { name, namespace } = object.metadata;
        await lab.kubernetes.apply({ ...object, metadata: { name, namespace: namespace! } });
      }
      await remove();
    },
  };
}

/** Marker objects, one of each kind, applied last: once they are in force, earlier objects are. */
function marks(
  mark: string,
  round: number,
  jwks: string,
): { needles: readonly string[]; objects: readonly KubeObject[] } {
  const of = (kind: string, spec: object): KubeObject => ({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name: mark, namespace: NAMESPACE },
    spec: { selector: { matchLabels: LABELS }, ...spec },
  });
  const port = 40_000 + round;
  const to = [{ operation: { paths: [`/${mark}`], ports: [String(PORTS.http)] } }];
  return {
    needles: [`ns[${NAMESPACE}]-policy[${mark}]`, `https://${mark}.test`, `"destination_port":${port}`],
    objects: [
      of('PeerAuthentication', { portLevelMtls: { [port]: { mode: 'DISABLE' } } }),
      of('RequestAuthentication', {
        jwtRules: [{ issuer: `https://${mark}.test`, jwks, fromHeaders: [{ name: 'x-mark' }] }],
      }),
      of('AuthorizationPolicy', { action: 'DENY', rules: [{ to }] }),
    ],
  };
}

async function nextSecond(): Promise<void> {
  const now = Math.floor(Date.now() / 1000);
  await until(
    () => Promise.resolve(Math.floor(Date.now() / 1000)),
    (second) => second > now,
  );
}

function witness(destinationIp: string, sourceIp: string, mark: string): Call {
  const http = { method: 'GET', path: `/${mark}`, authority: 'witness' };
  return { principal: WITNESS, destinationIp, sourceIp, port: PORTS.http, http };
}

function pathOf(kind: string, namespace: string): string {
  return `/apis/security.istio.io/v1/namespaces/${namespace}/${kind}`;
}
