/** Gateways of the lab with real manifests: states are applied one after the other, and requests are sent to the proxies that serve them. */
import { readFileSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Host, type KubeObject, type Lab, upLab } from '@meshpass/lab';
import { NAMESPACES, namespacesOfHosts, podLabels, STRICT, serviceObjects } from '@meshpass/lab/mesh/objects';
import { planLab } from '@meshpass/lab/plan';
import { readRecord } from '@meshpass/lab/state';
import { parseAllDocuments } from 'yaml';
import { until } from '../mesh.ts';

/** Request, and the port of the proxy that it is sent to. */
export interface Sent {
  readonly protocol: 'http' | 'https';
  readonly port: number;
  readonly host: string;
  readonly method: string;
  /** Path with its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answered {
  /** 0 if there was no answer: the connection failed, or was closed. */
  readonly status: number;
  readonly body: string;
  /** Whether a workload answered, and not a proxy itself. */
  readonly byWorkload: boolean;
}

export interface Gateways {
  readonly lab: Lab;
  /**
   * Replaces the objects of the previous state, and waits until the gateways have the new one.
   * @param objects may replace those of the lab, which come back afterwards
   */
  change(objects: readonly KubeObject[]): Promise<void>;
  /** Sends a request to a host of the lab. */
  send(host: string, request: Sent): Promise<Answered>;
  /** Opens a connection, and returns the first bytes that answer `text`; undefined if it is closed or silent. */
  exchange(host: string, port: number, text: string): Promise<string | undefined>;
  /** Starts a service outside the mesh, which answers every request with its name. @returns EndpointSlice of its Service */
  serve(name: string, namespace: string, portName: string): Promise<KubeObject>;
  /** EndpointSlices of Services: of the Pod of the lab that one selects, or of a stand-in in its namespace. */
  endpointsOf(objects: readonly KubeObject[]): readonly KubeObject[];
  close(): Promise<void>;
}

const SECRETS = ['shop', 'shop-tls', 'staging-tls', 'www-tls', 'partners-tls', 'partners'];
const MARKER_PORT = 15_999;
const SILENT_MS = 1_500;
/** Time for events of other kinds than the marker's to reach istiod. */
const SETTLE_MS = 150;

/** Starts the lab with its gateways, which may read their certificates. */
export async function openGateways(): Promise<Gateways> {
  const lab = await upLab({ with: ['ingress', 'gateway-api', 'staging'], gatewayApi: true });
  const { kubernetes } = lab;
  const own = [...certificates(lab), ...rights(), ISTIO_CLASS];
  const isOwn = (one: KubeObject): boolean => own.some((other) => keyOf(other) === keyOf(one));
  await kubernetes.apply(...own);
  const plan = planLab(lab.name, Number(lab.hosts.control!.ip.split('.')[2]), readRecord(lab.name)!.extra);
  const ofLab = [STRICT, ...NAMESPACES, ...namespacesOfHosts(Object.values(plan.hosts)), ...serviceObjects(plan)];
  const objectsOfLab = new Map(ofLab.map((one) => [keyOf(one), one]));
  const isOfLab = (one: KubeObject): boolean => objectsOfLab.has(keyOf(one));
  const servers: http.Server[] = [];
  let applied: readonly KubeObject[] = [];
  let round = 0;
  const address = (host: string): string => lab.hosts[host]!.ip;

  const send: Gateways['send'] = (host, { protocol, port, host: authority, method, path, headers = {} }) =>
    new Promise((resolve) => {
      const options = {
        host: address(host),
        port,
        method,
        path,
        agent: false,
        timeout: SILENT_MS,
        headers: { host: authority, ...headers },
        ...(protocol === 'https' && { servername: authority.toLowerCase(), rejectUnauthorized: false }),
      };
      const request = (protocol === 'https' ? https : http).request(options, (response) => resolve(read(response)));
      request.on('timeout', () => request.destroy());
      request.on('error', () => resolve(NO_ANSWER));
      request.end();
    });

  // Envoy is asked what routes it has, because policies of a state may refuse a request to the marker.
  const isMarked = async (host: string): Promise<boolean> => {
    const routes = `resource=dynamic_route_configs&name_regex=http.${MARKER_PORT}`;
    const dump = await lab.exec(host, ['curl', '-s', `http://127.0.0.1:15000/config_dump?${routes}`]);
    return dump.stdout.includes(`"round ${round}"`);
  };

  return {
    lab,
    change: async (objects) => {
      const wanted = new Set(objects.map(keyOf));
      const gone = applied.filter((one) => !wanted.has(keyOf(one)));
      await kubernetes.remove(...gone.filter((one) => !isOfLab(one) && !isOwn(one)));
      await kubernetes.apply(...gone.flatMap((one) => objectsOfLab.get(keyOf(one)) ?? []));
      applied = objects;
      // One by one, because the age of objects decides between routes.
      for (const one of objects) await kubernetes.apply(one);
      await sleep(SETTLE_MS);
      round += 1;
      await kubernetes.apply(...markers(round));
      for (const host of ['ingress', 'gateway-api']) await until(() => isMarked(host), Boolean, 30);
      await sleep(SETTLE_MS);
    },
    send,
    exchange: (host, port, text) =>
      new Promise((resolve) => {
        const socket = connect({ host: address(host), port, timeout: SILENT_MS }, () => socket.write(text));
        const end = (answer?: string): void => {
          socket.destroy();
          resolve(answer);
        };
        socket.on('data', (data) => end(data.toString()));
        socket.on('timeout', () => end());
        socket.on('error', () => end());
        socket.on('close', () => end());
      }),
    serve: async (name, namespace, portName) => {
      const answer: http.RequestListener = (_, response) => response.end(JSON.stringify({ service: name }));
      const tls = { cert: readFileSync(join(lab.dir, CERTIFICATE)), key: readFileSync(join(lab.dir, KEY)) };
      const server = portName === 'https' ? https.createServer(tls, answer) : http.createServer(answer);
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, plan.rootIp, resolve));
      const { port } = server.address() as AddressInfo;
      const endpoints = [{ addresses: [plan.rootIp], conditions: { ready: true } }];
      return endpointSlice(name, namespace, [{ name: portName, port }], endpoints);
    },
    endpointsOf: (objects) =>
      objects.flatMap((one) => {
        const { type, ports = [], selector } = (one.kind === 'Service' ? one.spec : {}) as ServiceSpec;
        const { name, namespace = '' } = one.metadata;
        const own = Object.values(lab.hosts).filter((host) => isSelected(host, namespace, selector));
        const standIn = STAND_INS[namespace];
        const host = own[0] ?? (standIn === undefined ? undefined : lab.hosts[standIn]);
        if (host === undefined || ports.length === 0 || type === 'ExternalName') return [];
        const targets = ports.map((port) => ({
          name: port.name,
          port: own.length > 0 ? (port.targetPort ?? port.port) : WEB_PORT,
        }));
        const targetRef = { kind: 'Pod', name: host.name, namespace };
        const endpoints = [{ addresses: [host.ip], conditions: { ready: true }, nodeName: 'lab', targetRef }];
        return [endpointSlice(name, namespace, targets, endpoints)];
      }),
    close: async () => {
      await kubernetes.remove(...applied.filter((one) => !isOfLab(one)), ...own, ...markers(round));
      await kubernetes.apply(...objectsOfLab.values());
      for (const server of servers) server.close();
      await lab.down();
    },
  };
}

/** Reads manifests as the API server gets them. */
export function objectsIn(text: string): readonly KubeObject[] {
  return parseAllDocuments(text).flatMap((document) => (document.toJS() as KubeObject | null) ?? []);
}

/** Identifies an object, whatever its version. */
export function keyOf({ apiVersion, kind, metadata }: KubeObject): string {
  return `${apiVersion.split('/')[0]} ${kind} ${metadata.namespace}/${metadata.name}`;
}

const NO_ANSWER: Answered = { status: 0, body: '', byWorkload: false };

async function read(response: IncomingMessage): Promise<Answered> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch {
    return NO_ANSWER;
  }
  const body = Buffer.concat(chunks).toString();
  // Every workload answers with JSON, and a proxy with words or nothing.
  return { status: response.statusCode ?? 0, body, byWorkload: body.startsWith('{') };
}

/** Hosts that answer for Services whose own Pods the lab does not have, and the port on which they speak HTTP. */
const STAND_INS: Readonly<Record<string, string>> = { shop: 'orders', 'shop-staging': 'staging' };
const WEB_PORT = 8080;

interface ServiceSpec {
  readonly type?: string;
  readonly selector?: Readonly<Record<string, string>>;
  readonly ports?: readonly { readonly name: string; readonly port: number; readonly targetPort?: number }[];
}

function isSelected(host: Host, namespace: string, selector: ServiceSpec['selector']): boolean {
  const labels = podLabels(host);
  const wanted = Object.entries(selector ?? {});
  return (
    host.workload?.namespace === namespace && wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value)
  );
}

/** @param name of the Service */
function endpointSlice(
  name: string,
  namespace: string,
  ports: readonly { readonly name: string; readonly port: number }[],
  endpoints: readonly object[],
): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-test`, namespace, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports: ports.map((port) => ({ ...port, protocol: 'TCP' })),
    endpoints,
  };
}

const CERTIFICATE = 'tls/idp.test.crt';
const KEY = 'tls/idp.test.key';

const ISTIO_CLASS = object('networking.k8s.io/v1', 'IngressClass', 'istio', undefined, {
  spec: { controller: 'istio.io/ingress-controller' },
});

/** Gateways that answer by themselves on a port of their own, with the number of the state. */
function markers(round: number): readonly KubeObject[] {
  const server = { port: { number: MARKER_PORT, name: 'http-marker', protocol: 'HTTP' }, hosts: ['marker.test'] };
  const gateway = (namespace: string, selector: Record<string, string>): KubeObject =>
    object('networking.istio.io/v1', 'Gateway', 'marker', namespace, { spec: { selector, servers: [server] } });
  const spec = {
    hosts: ['marker.test'],
    gateways: ['istio-ingress/marker', 'shop/marker'],
    http: [{ directResponse: { status: 200, body: { string: `round ${round}` } } }],
  };
  return [
    gateway('istio-ingress', { istio: 'ingressgateway' }),
    gateway('shop', { 'gateway.networking.k8s.io/gateway-name': 'public' }),
    object('networking.istio.io/v1', 'VirtualService', 'marker', 'istio-ingress', { spec }),
  ];
}

/** Any certificate serves: clients do not verify it here. */
function certificates({ dir }: Lab): readonly KubeObject[] {
  const file = (name: string): string => readFileSync(join(dir, name)).toString('base64');
  const data = { 'tls.crt': file(CERTIFICATE), 'tls.key': file(KEY), 'ca.crt': file('tls/ca.crt') };
  const secrets = ['istio-ingress', 'shop', 'shop-staging'].flatMap((namespace) =>
    SECRETS.map((name) => object('v1', 'Secret', name, namespace, { type: 'kubernetes.io/tls', data })),
  );
  const ca = readFileSync(join(dir, 'tls/ca.crt'), 'utf8');
  return [...secrets, object('v1', 'ConfigMap', 'partner-ca', 'shop', { data: { 'ca.crt': ca } })];
}

/** istiod hands a certificate only to a proxy whose ServiceAccount may read it, as the charts of gateways provide. */
function rights(): readonly KubeObject[] {
  const api = 'rbac.authorization.k8s.io/v1';
  const rules = [{ apiGroups: [''], resources: ['secrets'], verbs: ['get', 'watch', 'list'] }];
  const accounts = { 'istio-ingress': 'istio-ingressgateway', shop: 'public-istio' };
  return Object.entries(accounts).flatMap(([namespace, name]) => [
    object(api, 'Role', 'gateway-secrets', namespace, { rules }),
    object(api, 'RoleBinding', 'gateway-secrets', namespace, {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'gateway-secrets' },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    }),
  ]);
}

function object(
  apiVersion: string,
  kind: string,
  name: string,
  namespace: string | undefined,
  rest: Readonly<Record<string, unknown>>,
): KubeObject {
  return { apiVersion, kind, metadata: { name, ...(namespace !== undefined && { namespace }) }, ...rest };
}
