/** A real gateway and two workloads with sidecars behind it, with objects that are known to be in force. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { OutsideRequest } from '@meshpass/analysis/evaluate';
import { readCluster } from '@meshpass/cli/input/cluster-manifests';
import { loadObject, type MeshView, viewMesh } from '@meshpass/istio';
import type { Lab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { must } from '@meshpass/lab/run';
import * as x509 from '@peculiar/x509';
import { until } from '../../mesh.ts';
import { type Identity, identityMaker, makeIssuer } from '../differential/identities.ts';
import { type Seen, sendTo } from './client.ts';
import { GATEWAYS, PORT, SERVICES, type World } from './generate.ts';
import { CLIENT } from './generate-calls.ts';

const MARK = 'mark.example';
/** Times that a marker must be seen in a row: the proxies' threads take changes over one by one. */
const SEEN_IN_A_ROW = 4;

export type GatewayHarness = Awaited<ReturnType<typeof openGatewayHarness>>;

export async function openGatewayHarness(lab: Lab) {
  const { ip } = lab.hosts.gateway!;
  const network = ip.replace(/\d+$/, '');
  const addresses = [`${network}1`, `${network}201`, `${network}202`];
  const found = await must(['ip', '-o', '-4', 'addr', 'show', 'to', `${network}1/32`], 'lab_start');
  const link = found.split(/\s+/)[1]!;
  for (const address of addresses.slice(1))
    await must(['ip', 'addr', 'replace', `${address}/32`, 'dev', link], 'lab_start');
  const issuers = await Promise.all(['https://a.test', 'https://b.test'].map(makeIssuer));
  const make = await identityMaker(lab.dir);
  const certificates = new Map<string, Identity>([
    [CLIENT, await make(CLIENT)],
    ['', await untrusted()],
  ]);
  const world: World = { issuers, addresses, files: await serverFiles(lab, make) };
  const targets = await Promise.all(SERVICES.map(({ app }) => startTarget(lab, app)));
  const behind = SERVICES.flatMap((service) => serviceObjects(lab, service));
  await lab.kubernetes.apply(...behind);
  let round = 0;
  let applied: readonly KubeObject[] = [];
  const clear = async () => {
    await lab.kubernetes.remove(...applied);
    applied = [];
  };
  const send = (request: OutsideRequest): Promise<Seen> => sendTo(ip, request, certificates);

  /** @param own status that the markers must have */
  const inForce = async (own: number) => {
    for (const [name, port] of MARKED) {
      const probe = probeOf(`/${name}-${round}`, port, addresses[0]!);
      let times = 0;
      await until(
        async () => {
          times = (await send(probe)).status === own ? times + 1 : 0;
          return times;
        },
        (seen) => seen >= SEEN_IN_A_ROW,
        60,
      );
    }
  };

  return {
    world,
    send,
    /** Replaces the objects by these, waits until the proxies apply them, and returns the mesh as the API server has it. */
    enforce: async (objects: readonly KubeObject[]): Promise<MeshView> => {
      round++;
      await clear();
      applied = [...objects, ...markers(round, world)];
      for (const object of applied) await lab.kubernetes.apply(object);
      await inForce(403);
      const { resources, problems } = await readCluster(lab.kubeconfig);
      if (problems.length > 0) throw new Error(problems.map(({ message }) => message).join('; '));
      const routes = await lab.kubernetes
        .call('GET', '/apis/gateway.networking.k8s.io/v1/httproutes')
        .catch(() => undefined);
      const more = routes === undefined ? [] : loadObject(routes, 'lab').resources;
      return viewMesh([...resources, ...more]);
    },
    close: async (): Promise<void> => {
      for (const target of targets) target.kill('SIGKILL');
      await clear();
      await lab.kubernetes.remove(...behind);
      for (const address of addresses.slice(1))
        await must(['ip', 'addr', 'del', `${address}/32`, 'dev', link], 'lab_start');
    },
  };
}

async function startTarget(lab: Lab, host: string) {
  const program = fileURLToPath(new URL('../differential/target.ts', import.meta.url));
  const child = lab.spawn(host, ['node', program]);
  await createInterface({ input: child.stdout! })[Symbol.asyncIterator]().next();
  return child;
}

function serviceObjects(lab: Lab, { namespace, name, app, ports }: (typeof SERVICES)[number]): readonly KubeObject[] {
  const listed = Object.entries(ports).map(([port, targetPort]) => ({
    name: `http-${port}`,
    port: Number(port),
    targetPort,
  }));
  const named = (extra: object = {}) => ({ name, namespace, ...extra });
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: named(),
      spec: { selector: { app }, ports: listed.map((one) => ({ ...one, protocol: 'TCP' })) },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: named({ labels: { 'kubernetes.io/service-name': name } }),
      addressType: 'IPv4',
      ports: listed.map((one) => ({ name: one.name, port: one.targetPort, protocol: 'TCP' })),
      endpoints: [
        {
          addresses: [lab.hosts[app]!.ip],
          conditions: { ready: true },
          nodeName: 'lab',
          targetRef: { kind: 'Pod', name: app, namespace },
        },
      ],
    } as unknown as KubeObject,
  ];
}

/** Probes by marker, and the ports to which they go. */
const MARKED = [
  ['gateway', PORT.http],
  ['gateway', PORT.https],
  ['one', PORT.http],
  ['two', PORT.http],
] as const;

function probeOf(path: string, port: number, sourceIp: string): OutsideRequest {
  const http = { method: 'GET', path, authority: MARK };
  return { port, http, sourceIp, ...(port === PORT.https && { tls: { sni: MARK } }) };
}

/** Applied last: once they are in force, the other objects are. */
function markers(round: number, { files }: World): readonly KubeObject[] {
  const refusing = (name: string, namespace: string, matchLabels: object): KubeObject => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: `mark-${name}`, namespace },
    spec: {
      selector: { matchLabels },
      action: 'DENY',
      rules: [{ to: [{ operation: { hosts: [MARK], paths: [`/${name}-${round}`] } }] }],
    },
  });
  const route = ({ namespace, name }: (typeof SERVICES)[number]) => ({
    match: [{ uri: { prefix: `/${name}-${round}` } }],
    route: [{ destination: { host: `${name}.${namespace}.svc.cluster.local`, port: { number: 80 } } }],
  });
  const hosts = [MARK];
  const tls = { mode: 'SIMPLE', serverCertificate: files.cert, privateKey: files.key };
  const istio = 'networking.istio.io/v1';
  return [
    {
      apiVersion: istio,
      kind: 'Gateway',
      metadata: { name: 'mark', namespace: GATEWAYS },
      spec: {
        selector: { istio: 'meshpass-gateway' },
        servers: [
          { port: { number: PORT.http, name: 'http-mark', protocol: 'HTTP' }, hosts },
          { port: { number: PORT.https, name: 'https-mark', protocol: 'HTTPS' }, hosts, tls },
        ],
      },
    },
    ...SERVICES.map(({ name, namespace, app }) => refusing(name, namespace, { app })),
    refusing('gateway', GATEWAYS, { istio: 'meshpass-gateway' }),
    {
      apiVersion: istio,
      kind: 'VirtualService',
      metadata: { name: 'mark', namespace: GATEWAYS },
      spec: { hosts, gateways: [`${GATEWAYS}/mark`], http: SERVICES.map(route) },
    },
  ];
}

/** Files that the gateway's agent can read. */
async function serverFiles(lab: Lab, make: (principal: string) => Promise<Identity>): Promise<World['files']> {
  const dir = join(lab.dir, 'hosts/gateway/test');
  mkdirSync(dir, { recursive: true });
  const { key, cert } = await make('cluster.local/ns/meshpass-system/sa/server');
  const files = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem'), ca: join(dir, 'ca.pem') };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  writeFileSync(files.ca, lab.rootCaPem());
  return files;
}

/** Certificate of an authority that only exists here. */
async function untrusted(): Promise<Identity> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as {
    readonly publicKey: CryptoKey;
    readonly privateKey: CryptoKey;
  };
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=stranger',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 12 * 60 * 60 * 1000),
    signingAlgorithm: algorithm,
    keys,
  });
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { key, cert: certificate.toString('pem') };
}
