/**
 * Plans on a real mesh of five habits, with four access files each: what a plan has proven is tried. Every grant works, what is
 * not granted fails, and a client inside of the mesh gets the same answers before and after.
 */
import { generateKeyPairSync } from 'node:crypto';
import type { Access } from '@meshpass/access';
import { planChange, refusals } from '@meshpass/analysis/plan';
import { certificateAuthority } from '@meshpass/broker/mesh/istiod/authority';
import { connectIstiod } from '@meshpass/broker/mesh/istiod/istiod';
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes/access';
import { kubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { kubernetes as broker } from '@meshpass/broker/mesh/kubernetes/kubernetes';
import { applyManifests } from '@meshpass/broker/mesh/reconcile/apply';
import { type Credentials, noCredentials } from '@meshpass/cli/drill/credentials';
import { openTunnel, tunnel } from '@meshpass/cli/drill/tunnel';
import { readCluster } from '@meshpass/cli/input/cluster-manifests';
import { createCsr } from '@meshpass/identity/csr';
import { type Lab, upLab } from '@meshpass/lab';
import { exportJWK, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../mesh.ts';
import { access, type Call, FILES, MESHES, policy } from './plan-meshes.ts';

const GRANTS = ['dev', 'ops'] as const;
const SHAPE = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const ISSUER = 'https://plan.meshpass.test';
const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'plan', alg: 'RS256' }] });
const TOKENS = { issuer: ISSUER, audience: 'meshpass', header: 'x-meshpass-token', jwks };

let lab: Lab;
let http: ReturnType<typeof kubernetesHttp>;
let credentials: Credentials;
const tokens: Record<string, string> = {};

beforeAll(async () => {
  lab = await upLab({ with: ['workspace-2'] });
  http = kubernetesHttp(await kubeconfigAccess(lab.kubeconfig));
  for (const grant of GRANTS) {
    tokens[grant] = await new SignJWT({ grants: [grant], attested: { level: ['senior'] } })
      .setProtectedHeader({ alg: 'RS256', kid: 'plan' })
      .setIssuer(ISSUER)
      .setSubject('somebody')
      .setAudience(['meshpass'])
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(keys.privateKey);
  }
});
afterAll(async () => {
  await apply([]);
  await until(
    async () => (await lab.kubernetes.call('GET', `/api/v1/namespaces${OURS}`)) as { items: unknown[] },
    ({ items }) => items.length === 0,
    60,
  );
  http.close();
  await lab.down();
});

const OURS = '?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass';

function apply(manifests: Parameters<typeof applyManifests>[0]) {
  const at = { now: Math.floor(Date.now() / 1000), svidLife: 0 };
  const where = { rootNamespace: SHAPE.rootNamespace, gatewayNamespace: SHAPE.gateway.namespace };
  return applyManifests(manifests, { kubernetes: broker(http), ...where, ...at });
}

/** A certificate for each grant, of the mesh's own istiod. */
async function certificates(): Promise<Credentials> {
  const roots = () => [lab.rootCaPem()];
  const istiod = connectIstiod({ address: lab.istiodAddress, serverName: 'istiod.istio-system.svc', roots });
  const now = () => Math.floor(Date.now() / 1000);
  const authority = certificateAuthority({
    kubernetes: broker(http),
    istiod,
    trustDomain: 'cluster.local',
    roots,
    now,
    random: Math.random,
    isRevoked: () => false,
  });
  const made = { ...noCredentials('https://nowhere.test'), roots: roots() };
  for (const grant of GRANTS) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const csr = createCsr(privateKey);
    const request = {
      namespace: `meshpass-${grant}`,
      serviceAccount: 'tester',
      csr,
      ttl: 3600,
      queue: 'arrival',
    } as const;
    const { chain, spiffeId } = await authority.sign(request);
    made.svids[grant] = { key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, chain, spiffeId };
  }
  istiod.close();
  return made;
}

/** PostgreSQL's first message of protocol 3.0: the server answers it. */
const STARTUP = '\0\0\0\x15\0\x03\0\0user\0ledger\0\0';

/** Calls through the mesh gateway, like the edge. @returns HTTP status, `answered` for TCP, or why there was none */
async function call([grant, method, target, path]: Call): Promise<string> {
  const [host, port] = lab.gatewayAddress.split(':') as [string, string];
  const full = target.replace(':', '.svc.cluster.local:');
  const tcp = method === 'TCP';
  const token = `x-meshpass-token: ${tokens[grant]}`;
  const request = `${method} ${path} HTTP/1.1\r\nhost: ${full}\r\ncontent-length: 0\r\nconnection: close\r\n${token}\r\n\r\n`;
  const order = { target: full, grant, straightTo: { host, port: Number(port) } };
  if (tcp) return await connect({ ...order, alpn: ['istio'] });
  const report = await tunnel(credentials, { ...order, send: request });
  return /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1] ?? report.stage;
}

/** Whether the database answers. The client sends first, because RBAC decides at the first bytes. */
async function connect(order: Parameters<typeof openTunnel>[1]): Promise<string> {
  const opened = await openTunnel(credentials, order);
  if (!('socket' in opened)) return opened.stage;
  try {
    return await new Promise<string>((resolve) => {
      const { socket } = opened;
      socket.once('data', () => resolve('answered'));
      socket.once('error', () => resolve('closed'));
      socket.once('close', () => resolve('closed'));
      socket.write(STARTUP);
    });
  } finally {
    opened.end();
  }
}

const worked = (answer: string) => ['200', '201', 'answered'].includes(answer);

/** Results of a client of the mesh, in one process on its host. */
async function insideCalls(): Promise<string> {
  const script = `
import http.client, socket
def call(method, host, port, path):
    try:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request(method, path, headers={"content-length": "0"})
        return str(connection.getresponse().status)
    except Exception as error:
        return type(error).__name__
def ledger():
    try:
        connection = socket.create_connection(("ledger-db.shop", 5432), timeout=5)
        connection.sendall(bytes(${JSON.stringify([...STARTUP].map((one) => one.charCodeAt(0)))}))
        return "answered" if connection.recv(16) else "closed"
    except Exception as error:
        return "closed"
calls = [("GET", "orders.shop", 8080, "/orders/1"), ("POST", "orders.shop", 8080, "/refunds"), ("GET", "orders.shop", 8080, "/admin/x"),
  ("GET", "orders.shop", 9090, "/admin/x"), ("GET", "web.dev", 80, "/")]
print(",".join([call(*one) for one in calls] + [ledger()]))`;
  const { stdout } = await lab.exec('client', ['python3', '-c', script]);
  return stdout.trim();
}

/** Waits until the client gets these answers, three times on end: connections that are being drained keep old rules. */
async function settled(inside: string): Promise<void> {
  let same = 0;
  await until(
    async () => {
      const seen = await insideCalls();
      same = seen === inside ? same + 1 : 0;
      return seen;
    },
    () => same === 3,
    50,
  );
}

async function plan(file: Access) {
  const { resources, problems } = await readCluster(lab.kubeconfig);
  expect(problems).toEqual([]);
  return planChange({ access: file, cluster: resources, shape: SHAPE, tokens: TOKENS });
}

describe.each(MESHES)('a mesh that is $name', ({ objects, inside }) => {
  beforeAll(async () => {
    await lab.kubernetes.apply(...objects);
    await settled(inside);
  });
  afterAll(async () => {
    const labelled = objects.find(({ kind }) => kind === 'Namespace');
    if (labelled) {
      const patch = {
        metadata: { labels: Object.fromEntries(Object.keys(labelled.metadata.labels!).map((name) => [name, null])) },
      };
      await lab.kubernetes.call(
        'PATCH',
        `/api/v1/namespaces/${labelled.metadata.name}`,
        patch,
        'application/merge-patch+json',
      );
    }
    await lab.kubernetes.remove(...objects.filter(({ kind }) => kind !== 'Namespace'));
    // Acts like the broker: without the foreign ALLOW, ours must also go.
    await apply((await plan(access(FILES[0]!))).manifests);
  });

  it.each(FILES)('confirms the plan of $name', async (file) => {
    const planned = await plan(access(file));
    expect(refusals(planned)).toEqual([]);
    await apply(planned.manifests);
    credentials ??= await certificates();
    for (const one of file.granted)
      await until(
        async () => `${one.join(' ')}: ${await call(one)}`,
        (seen) => worked(seen.split(': ').pop()!),
        30,
      );
    // A denial of another workload may still be on its way to it.
    for (const one of file.refused)
      await until(
        async () => `${one.join(' ')}: ${await call(one)}`,
        (seen) => !worked(seen.split(': ').pop()!),
        10,
      );
    for (const one of file.granted) expect(worked(await call(one))).toBe(true);
    await settled(inside);
    const again = await plan(access(file));
    expect({ resources: again.resources, reach: again.reach, findings: again.findings }).toEqual({
      resources: [],
      reach: [],
      findings: [],
    });
  });
});

describe('a plan that is refused', () => {
  const deny = policy('shop', 'deny', { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/nothing'] } }] }] });
  afterAll(() => lab.kubernetes.remove(deny));

  it('is right: a DENY with a path closes the database, and the grant does not work there', async () => {
    await lab.kubernetes.apply(deny);
    const planned = await plan(access(FILES[0]!));
    expect(refusals(planned).map(({ kind, message }) => `${kind} ${message}`)).toEqual([
      expect.stringContaining(
        'grant-does-not-work grant ops does not work: every call is refused on ledger-db in shop',
      ),
    ]);
    await apply(planned.manifests);
    credentials ??= await certificates();
    await until(() => call(FILES[0]!.granted[0]!), worked, 30);
    await until(
      () => call(FILES[0]!.granted[2]!),
      (seen) => !worked(seen),
      30,
    );
  });
});
