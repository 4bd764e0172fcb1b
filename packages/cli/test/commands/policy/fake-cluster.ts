/** The two that examples talk to, faked over the network with sample manifests: a broker that plans, and a Kubernetes API that lists. */
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { loadAccess } from '@meshpass/access';
import { planChange } from '@meshpass/analysis/plan';
import type { KubeObject, Resource } from '@meshpass/istio';
import { createCa } from '../../../../edge/test/mesh-ca.ts';
import { readManifests } from '../../../src/input/policy-input.ts';

export interface FakeServer {
  readonly origin: string;
  /** Objects of the cluster. */
  readonly kubeconfig: string;
  /** Requests to the broker, the last at the end. */
  readonly sent: readonly { readonly url: string; readonly body: unknown }[];
  close(): Promise<void>;
}

const SHAPE = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const JWKS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k', n: 'AQAB', e: 'AQAB' }] });
const TOKENS = { issuer: 'https://broker.example.com', audience: 'meshpass', header: 'x-meshpass-token', jwks: JWKS };

/** Plans the policy in force for every request. */
export async function startFakeBroker(mesh: string, access: string): Promise<FakeServer> {
  const { resources: cluster } = await readManifests([mesh]);
  const sent: { url: string; body: unknown }[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const part of request) text += part;
    sent.push({ url: request.url ?? '', body: text === '' ? undefined : JSON.parse(text) });
    const plan = planChange({
      access: loadAccess(access, { name: 'access.yaml' }).access,
      cluster,
      shape: SHAPE,
      tokens: TOKENS,
    });
    const versions = [
      { version: 7, time: '2026-11-25T12:00:00.000Z', by: 'an operator', reason: 'first', plan: plan.id },
    ];
    const answer = request.url === '/policy/history' ? { versions } : { ...plan, manifests: undefined };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  });
  return { ...(await listening(server, 'http')), kubeconfig: '', sent };
}

/** A kind that we do not understand, as discovery names it; without items it may not be listed. */
export interface OtherKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly items?: readonly object[];
}

/** Lists objects by their kind, with a certificate as an API server has one. */
export async function startFakeCluster(mesh: string, others: readonly OtherKind[] = []): Promise<FakeServer> {
  const { resources: objects } = await readManifests([mesh]);
  const ca = await createCa('Kubernetes');
  const leaf = await ca.issue({ san: [{ type: 'ip', value: '127.0.0.1' }] });
  const groups = [
    'security.istio.io/v1',
    'networking.istio.io/v1',
    'rbac.authorization.k8s.io/v1',
    'gateway.networking.k8s.io/v1',
    'networking.k8s.io/v1',
    'extensions.istio.io/v1alpha1',
  ];
  const server = createTlsServer(leaf, (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'https://cluster.test');
    const send = (body: object, status = 200) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (pathname === '/apis') {
      send({ groups: groups.map((groupVersion) => ({ versions: [{ groupVersion }] })) });
      return;
    }
    const group = groups.find((one) => pathname === `/apis/${one}`);
    if (group !== undefined) {
      const resources = others.filter(({ apiVersion }) => apiVersion === group);
      send({ resources: resources.map(({ kind, name }) => ({ kind, name, verbs: ['list'] })) });
      return;
    }
    // Istio 1.29 has the group without this kind.
    if (pathname.endsWith('/trafficextensions')) return send({ kind: 'Status', reason: 'NotFound', code: 404 }, 404);
    const other = others.find(({ apiVersion, name }) => pathname === `/apis/${apiVersion}/${name}`);
    if (other && !other.items) send({ kind: 'Status', reason: 'Forbidden', code: 403 }, 403);
    else send({ items: other?.items ?? objects.filter((one) => isListed(one, pathname)) });
  });
  const { origin, close } = await listening(server, 'https');
  const kubeconfig = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    clusters: [
      {
        name: 'test',
        cluster: { server: origin, 'certificate-authority-data': Buffer.from(ca.root).toString('base64') },
      },
    ],
    users: [{ name: 'test', user: { token: 'a-token' } }],
  });
  return { origin, close, kubeconfig, sent: [] };
}

function isListed({ apiVersion, kind }: Resource & Pick<KubeObject, 'apiVersion'>, pathname: string): boolean {
  const plural = `${kind.toLowerCase()}s`.replace(/ys$/, 'ies');
  return pathname === `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}/${plural}`;
}

async function listening(server: Server, scheme: string) {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `${scheme}://127.0.0.1:${port}`,
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}
