/**
 * Parts of the lab, as plain data: hosts with their addresses, and the services of the mesh. Nothing here runs.
 *
 * Two networks. The cluster network is 10.201.N.0/24 with N allotted to each lab; the root namespace has a leg in it. The "internet" (203.0.113.0/24, documentation addresses) exists only between the workspaces and the
 * `meshpass` host, the one host with a leg in both; it forwards nothing.
 */

/** A host with a proxy, or an ambient Pod: who it is in the mesh. */
export interface Workload {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly app: string;
  /** Proxy of the workload. One in `ambient` mode has none: the node's ztunnel carries its traffic. */
  readonly kind: 'sidecar' | 'router' | 'waypoint' | 'ambient';
  readonly labels?: Readonly<Record<string, string>>;
}

export interface Host {
  readonly name: string;
  /** Address on the cluster network; a workspace has its address on the internet. */
  readonly ip: string;
  readonly netns: string;
  readonly network: 'cluster' | 'internet';
  readonly workload?: Workload;
}

export interface MeshService {
  readonly namespace: string;
  readonly name: string;
  /** `None` for a headless Service: its name leads to the addresses of its hosts. */
  readonly clusterIp: string;
  /** Hosts whose addresses are its endpoints. */
  readonly hosts: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly selector: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Istio takes the protocol from the name's first word; a name that begins with no protocol leaves it undeclared. */
export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly targetPort: number;
}

/** The whole of one lab, before anything of it runs. */
export interface Plan {
  readonly name: string;
  /** N of 10.201.N.0/24. */
  readonly subnet: number;
  /** Namespace of the cluster's bridge. */
  readonly switch: string;
  /** Link of the root namespace to the cluster network, and its address there. */
  readonly link: string;
  readonly rootIp: string;
  readonly hosts: Readonly<Record<string, Host>>;
  readonly services: readonly MeshService[];
  /** Whether the mesh has ambient mode. */
  readonly ambient: boolean;
}

/** Hosts that start only when asked for by name. `ambient` names all hosts of ambient mode at once. */
export const OPTIONAL_HOSTS = ['stock', 'echo-v1', 'echo-v2', 'ingress', 'gateway-api', 'staging', 'ambient'] as const;

export const INTERNET = { meshpass: '203.0.113.1', prefix: 24 } as const;
export const SERVICE_RANGE = '10.96.0.0/16';
export const TRUST_DOMAIN = 'cluster.local';
export const GATEWAY_PORT = 15443;
/** Port of ztunnel and waypoints for HTTP CONNECT over mutual TLS. */
export const HBONE_PORT = 15008;

/** Names in the `.test` zone, and the host that answers to each. */
export const TEST_NAMES: Readonly<Record<string, string>> = {
  'broker.meshpass.test': 'meshpass',
  'edge.meshpass.test': 'meshpass',
  'api.github.test': 'github',
  'idp.test': 'github',
  'token.actions.test': 'github',
};

/** Domain of Codespaces' forwarded ports. Host `github` serves it on this port, to which the flags of a broker in the lab point. */
export const FORWARDING_DOMAIN = 'app.github.dev';
export const FORWARDING_PORT = 8444;

/** Namespace in ambient mode, and the Gateway in it. */
export const AMBIENT_NAMESPACE = 'ambient';
export const WAYPOINT = 'waypoint';

/** Two versions of one service, for routes that distinguish them. */
const ECHO = { namespace: 'shop', serviceAccount: 'echo', app: 'echo', kind: 'sidecar' } as const;

const GATEWAY_LABELS = {
  'gateway.networking.k8s.io/gateway-name': 'public',
  'gateway.networking.k8s.io/gateway-class-name': 'istio',
} as const;

const WORKLOADS: Readonly<Record<string, Workload>> = {
  gateway: {
    namespace: 'meshpass-system',
    serviceAccount: 'meshpass-gateway',
    app: 'meshpass-gateway',
    kind: 'router',
    labels: { istio: 'meshpass-gateway' },
  },
  orders: { namespace: 'shop', serviceAccount: 'orders', app: 'orders', kind: 'sidecar' },
  'ledger-db': { namespace: 'shop', serviceAccount: 'ledger-db', app: 'ledger-db', kind: 'sidecar' },
  web: { namespace: 'dev', serviceAccount: 'web', app: 'web', kind: 'sidecar' },
  client: { namespace: 'shop', serviceAccount: 'client', app: 'client', kind: 'sidecar' },
  'echo-v1': { ...ECHO, labels: { version: 'v1' } },
  'echo-v2': { ...ECHO, labels: { version: 'v2' } },
  stock: { namespace: 'dev', serviceAccount: 'stock', app: 'stock', kind: 'sidecar' },
  // As Istio's chart installs it in a namespace of its own. Ingresses of class istio select it as well.
  ingress: {
    namespace: 'istio-ingress',
    serviceAccount: 'istio-ingressgateway',
    app: 'istio-ingressgateway',
    kind: 'router',
    labels: { istio: 'ingressgateway' },
  },
  // The Deployment that istiod would make for the Gateway `public` of the Gateway API.
  'gateway-api': {
    namespace: 'shop',
    serviceAccount: 'public-istio',
    app: 'public-istio',
    kind: 'router',
    labels: GATEWAY_LABELS,
  },
  staging: {
    namespace: 'shop-staging',
    serviceAccount: 'web',
    app: 'web',
    kind: 'sidecar',
    labels: { 'app.kubernetes.io/name': 'web' },
  },
  hello: ambientPod('hello'),
  direct: ambientPod('direct'),
  caller: ambientPod('caller'),
  [WAYPOINT]: {
    ...ambientPod(WAYPOINT),
    kind: 'waypoint',
    // As istiod labels the Pods that it deploys for a Gateway of this class.
    labels: {
      'gateway.networking.k8s.io/gateway-name': WAYPOINT,
      'gateway.networking.k8s.io/gateway-class-name': 'istio-waypoint',
      'gateway.istio.io/managed': 'istio.io-mesh-controller',
      'istio.io/dataplane-mode': 'none',
    },
  },
};

const CLUSTER_HOSTS: readonly (readonly [name: string, lastByte: number])[] = [
  ['control', 10],
  ['gateway', 20],
  ['ingress', 21],
  ['gateway-api', 22],
  ['orders', 31],
  ['ledger-db', 32],
  ['web', 33],
  ['client', 34],
  ['staging', 35],
  ['github', 40],
  ['meshpass', 50],
  ['stock', 60],
  ['echo-v1', 71],
  ['echo-v2', 72],
];

/** `node` runs the ztunnel of the Pods `hello`, `direct` and `caller`. */
const AMBIENT_HOSTS: readonly (readonly [name: string, lastByte: number])[] = [
  ['node', 80],
  ['hello', 81],
  ['direct', 82],
  ['caller', 83],
  [WAYPOINT, 84],
];

/** Host `workspace`, and on request more of them: `workspace-2` to `workspace-9`. */
const WORKSPACE = /^workspace(?:-([2-9]))?$/;

/**
 * @param name of the lab
 * @param subnet N of 10.201.N.0/24, 1 to 250
 * @param extra optional hosts: `stock`, `echo-v1`, `echo-v2`, `ingress`, `gateway-api`, `staging`, `ambient`, `workspace-2` to `workspace-9`
 */
export function planLab(name: string, subnet: number, extra: readonly string[]): Plan {
  const hosts: Record<string, Host> = {};
  const add = (host: string, ip: string, network: Host['network']): void => {
    const workload = WORKLOADS[host];
    hosts[host] = { name: host, ip, netns: `mp-${name}-${host}`, network, ...(workload && { workload }) };
  };
  for (const [host, lastByte] of CLUSTER_HOSTS) {
    if (!isOptionalHost(host) || extra.includes(host)) add(host, `10.201.${subnet}.${lastByte}`, 'cluster');
  }
  const ambient = extra.includes('ambient');
  if (ambient) for (const [host, lastByte] of AMBIENT_HOSTS) add(host, `10.201.${subnet}.${lastByte}`, 'cluster');
  for (const host of ['workspace', ...extra.filter((one) => one !== 'workspace' && WORKSPACE.test(one)).sort()]) {
    add(host, `203.0.113.${10 + Number(WORKSPACE.exec(host)?.[1] ?? 0)}`, 'internet');
  }
  return {
    name,
    subnet,
    switch: `mp-${name}-switch`,
    link: `mp${subnet}`,
    rootIp: `10.201.${subnet}.1`,
    hosts,
    services: SERVICES.filter((service) => service.hosts.some((host) => host in hosts)),
    ambient,
  };
}

/** Whether a host of this name may be asked for beyond the usual ones. */
export function isOptionalHost(host: string): boolean {
  return (OPTIONAL_HOSTS as readonly string[]).includes(host) || (host !== 'workspace' && WORKSPACE.test(host));
}

/** Service name of the maximum length. */
export const LONG_NAME = `echo-${'x'.repeat(58)}`;

const GATEWAY_PORTS: readonly ServicePort[] = [
  { name: 'http', port: 80, targetPort: 80 },
  { name: 'https', port: 443, targetPort: 443 },
  { name: 'tcp', port: 31400, targetPort: 31400 },
];

const SERVICES: readonly MeshService[] = [
  {
    namespace: 'shop',
    name: 'orders',
    clusterIp: '10.96.1.10',
    hosts: ['orders'],
    ports: [
      { name: 'http', port: 8080, targetPort: 8080 },
      { name: 'http-admin', port: 9090, targetPort: 9090 },
    ],
    selector: { app: 'orders' },
  },
  {
    namespace: 'shop',
    name: 'ledger-db',
    clusterIp: '10.96.1.11',
    hosts: ['ledger-db'],
    ports: [{ name: 'tcp-postgres', port: 5432, targetPort: 5432 }],
    selector: { app: 'ledger-db' },
  },
  {
    namespace: 'dev',
    name: 'web',
    clusterIp: '10.96.2.10',
    hosts: ['web'],
    ports: [{ name: 'http', port: 80, targetPort: 8080 }],
    selector: { app: 'web' },
  },
  {
    namespace: 'shop',
    name: 'echo',
    clusterIp: '10.96.1.20',
    hosts: ['echo-v1', 'echo-v2'],
    ports: [
      { name: 'http', port: 8080, targetPort: 8080 },
      { name: 'grpc', port: 9000, targetPort: 9000 },
      { name: 'tcp-banner', port: 2525, targetPort: 2525 },
      { name: 'undeclared', port: 7000, targetPort: 7000 },
      { name: 'undeclared-banner', port: 2526, targetPort: 2526 },
    ],
    selector: { app: 'echo' },
  },
  {
    namespace: 'shop',
    name: 'echo-headless',
    clusterIp: 'None',
    hosts: ['echo-v1', 'echo-v2'],
    ports: [{ name: 'http', port: 8081, targetPort: 8081 }],
    selector: { app: 'echo' },
  },
  {
    namespace: 'shop',
    name: LONG_NAME,
    clusterIp: '10.96.1.21',
    hosts: ['echo-v1', 'echo-v2'],
    ports: [{ name: 'http', port: 8080, targetPort: 8080 }],
    selector: { app: 'echo' },
  },
  {
    namespace: 'meshpass-system',
    name: 'meshpass-gateway',
    clusterIp: '10.96.3.10',
    hosts: ['gateway'],
    ports: [{ name: 'tls', port: GATEWAY_PORT, targetPort: GATEWAY_PORT }],
    selector: { istio: 'meshpass-gateway' },
  },
  {
    namespace: 'istio-ingress',
    name: 'istio-ingressgateway',
    clusterIp: '10.96.3.20',
    hosts: ['ingress'],
    ports: GATEWAY_PORTS,
    selector: { istio: 'ingressgateway' },
  },
  {
    namespace: 'shop',
    name: 'public-istio',
    clusterIp: '10.96.3.21',
    hosts: ['gateway-api'],
    ports: GATEWAY_PORTS,
    selector: GATEWAY_LABELS,
  },
  ambientService('hello', '10.96.4.10', { 'istio.io/use-waypoint': WAYPOINT }),
  ambientService('direct', '10.96.4.11'),
  {
    namespace: AMBIENT_NAMESPACE,
    name: WAYPOINT,
    clusterIp: '10.96.4.20',
    hosts: [WAYPOINT],
    ports: [{ name: 'mesh', port: HBONE_PORT, targetPort: HBONE_PORT }],
    selector: { 'gateway.networking.k8s.io/gateway-name': WAYPOINT },
  },
];

function ambientPod(name: string): Workload {
  return { namespace: AMBIENT_NAMESPACE, serviceAccount: name, app: name, kind: 'ambient' };
}

function ambientService(name: string, clusterIp: string, labels?: MeshService['labels']): MeshService {
  return {
    namespace: AMBIENT_NAMESPACE,
    name,
    clusterIp,
    hosts: [name],
    ports: [{ name: 'http', port: 8080, targetPort: 8080 }],
    selector: { app: name },
    ...(labels && { labels }),
  };
}

/** The names of a host's own /etc/hosts, one line each. */
export function hostsFile(plan: Plan, host: Host): string {
  const lines = ['127.0.0.1 localhost', `${host.ip} ${host.name}`];
  const name = (ip: string, ...names: string[]): unknown => lines.push(`${ip} ${names.join(' ')}`);
  if (host.network === 'internet') {
    for (const [test, target] of Object.entries(TEST_NAMES)) if (target === 'meshpass') name(INTERNET.meshpass, test);
    return `${lines.join('\n')}\n`;
  }
  for (const [test, target] of Object.entries(TEST_NAMES)) name(plan.hosts[target]?.ip ?? '', test);
  name(plan.hosts.control?.ip ?? '', 'istiod.istio-system.svc', 'kubernetes.default.svc');
  for (const service of plan.services) {
    const short = `${service.name}.${service.namespace}`;
    // Without a sidecar only the gateway is reachable; a name that leads to a refused connection is of no use.
    if (!host.workload && !service.hosts.includes('gateway')) continue;
    for (const ip of addressesOf(plan, host, service)) name(ip, `${short}.svc.cluster.local`, `${short}.svc`, short);
  }
  return `${lines.join('\n')}\n`;
}

/** Address of a Service for a name server; without a sidecar, the address of the host itself. */
function addressesOf(plan: Plan, host: Host, { clusterIp, hosts }: MeshService): readonly string[] {
  if (host.workload && clusterIp !== 'None') return [clusterIp];
  return hosts.flatMap((one) => plan.hosts[one]?.ip ?? []);
}
