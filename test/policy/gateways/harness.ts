/** A real gateway and two workloads with sidecars behind it, with objects that are known to be in force. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Call, OutsideRequest } from '@meshpass/analysis/evaluate';
import { readCluster } from '@meshpass/cli/input/cluster-manifests';
import { loadObject, type MeshView, viewMesh } from '@meshpass/istio';
import type { Lab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { must } from '@meshpass/lab/run';
import * as x509 from '@peculiar/x509';
import { until } from '../../mesh.ts';
import { makeCaller } from '../differential/caller.ts';
import { type Identity, identityMaker, makeIssuer } from '../differential/identities.ts';
import { type Seen, sendTo } from './client.ts';
import { GATEWAYS, PORT, SERVICES, type World } from './generate.ts';
import { CLIENT } from './generate-calls.ts';

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

  /** Whether the markers' token rules refuse, which come before all policies. */
  const refused = async (): Promise<boolean> => {
    const outside = PROBED.map((port) => send(probe(round, port, addresses[0]!)).then(({ status }) => status));
    const inside = SERVICES.map(async ({ name, app, ports }) => {
      const caller = makeCaller(certificates);
      const status = await caller.call(inner(name, round, lab.hosts[app]!.ip, ports[80], addresses[0]!), false);
      caller.renew();
      return status;
    });
    return (await Promise.all([...outside, ...inside])).every((status) => status === 401);
  };
  const inForce = async () => {
    await until(
      async () => (await Promise.all(PROXIES.map((one) => isConfigured(lab, one, round)))).every(Boolean),
      (done) => done,
      60,
    );
    let times = 0;
    await until(
      async () => {
        times = (await refused()) ? times + 1 : 0;
        return times;
      },
      (seen) => seen >= SEEN_IN_A_ROW,
      60,
    );
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
      await inForce();
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
    // A kept connection would continue under previous policies.
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      metadata: named(),
      spec: { host: name, trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } } },
    },
  ];
}

const PROBED = [PORT.http, PORT.https] as const;

/** Request to the gateway with a header that holds no token. */
function probe(round: number, port: number, sourceIp: string): OutsideRequest {
  const authority = hostOf(round);
  const http = { method: 'GET', path: '/', authority, headers: { [headerOf('gateway', round)]: 'x' } };
  return { port, http, sourceIp, ...(port === PORT.https && { tls: { sni: authority } }) };
}

/** Such a request directly to a workload. */
function inner(name: string, round: number, destinationIp: string, port: number, sourceIp: string): Call {
  const http = { method: 'GET', path: '/', authority: name, headers: { [headerOf(name, round)]: 'x' } };
  return { principal: CLIENT, destinationIp, sourceIp, port, http };
}

/** Hosts with a proxy, and the names of their markers. */
const PROXIES: readonly { readonly host: string; readonly name: string }[] = [
  { host: 'gateway', name: 'gateway' },
  ...SERVICES.map(({ app, name }) => ({ host: app, name })),
];

/** Whether the configuration of a proxy has the markers: those of policies and token rules, and a gateway's route. */
async function isConfigured(lab: Lab, { host, name }: (typeof PROXIES)[number], round: number): Promise<boolean> {
  const dump = async (resource: string): Promise<string> => {
    const url = `http://127.0.0.1:15000/config_dump?resource=${resource}`;
    const { stdout } = await lab.exec(host, ['curl', '-s', url]);
    const { configs = [] } = JSON.parse(stdout || '{}') as { configs?: readonly { active_state?: unknown }[] };
    return JSON.stringify(configs.map((one) => one.active_state ?? one));
  };
  const listeners = await dump('dynamic_listeners');
  if (!listeners.includes(`/${name}-${round}"`) || !listeners.includes(headerOf(name, round))) return false;
  if (host !== 'gateway') return true;
  return listeners.includes(`"${hostOf(round)}"`) && (await dump('dynamic_route_configs')).includes(hostOf(round));
}

function hostOf(round: number): string {
  return `mark-${round}.example`;
}

function headerOf(name: string, round: number): string {
  return `x-mark-${name}-${round}`;
}

/** One object of each kind, applied last: once they are in force, the other objects are. */
function markers(round: number, { files, issuers }: World): readonly KubeObject[] {
  const hosts = [hostOf(round)];
  const refusing = (name: string, namespace: string, matchLabels: object): readonly KubeObject[] => {
    const at = { apiVersion: 'security.istio.io/v1', metadata: { name: `mark-${name}`, namespace } };
    const selector = { matchLabels };
    const rules = [{ to: [{ operation: { hosts, paths: [`/${name}-${round}`] } }] }];
    const rule = {
      issuer: 'https://mark.test',
      jwks: issuers[0]!.jwks,
      fromHeaders: [{ name: headerOf(name, round) }],
    };
    return [
      { ...at, kind: 'RequestAuthentication', spec: { selector, jwtRules: [rule] } },
      { ...at, kind: 'AuthorizationPolicy', spec: { selector, action: 'DENY', rules } },
    ];
  };
  const route = ({ namespace, name }: (typeof SERVICES)[number]) => ({
    match: [{ uri: { prefix: `/${name}-${round}` } }],
    route: [{ destination: { host: `${name}.${namespace}.svc.cluster.local`, port: { number: 80 } } }],
  });
  const tls = { mode: 'SIMPLE', serverCertificate: files.cert, privateKey: files.key };
  const metadata = { name: 'mark', namespace: GATEWAYS };
  const apiVersion = 'networking.istio.io/v1';
  const servers = [
    { port: { number: PORT.http, name: 'http-mark', protocol: 'HTTP' }, hosts },
    { port: { number: PORT.https, name: 'https-mark', protocol: 'HTTPS' }, hosts, tls },
  ];
  return [
    ...SERVICES.flatMap(({ name, namespace, app }) => refusing(name, namespace, { app })),
    ...refusing('gateway', GATEWAYS, { istio: 'meshpass-gateway' }),
    {
      apiVersion,
      kind: 'VirtualService',
      metadata,
      spec: { hosts, gateways: [`${GATEWAYS}/mark`], http: SERVICES.map(route) },
    },
    { apiVersion, kind: 'Gateway', metadata, spec: { selector: { istio: 'meshpass-gateway' }, servers } },
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
