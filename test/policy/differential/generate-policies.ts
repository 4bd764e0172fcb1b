/** Policies of every kind, field and scope, from a small world of words, so that calls meet them often. */
import type { KubeObject } from '@meshpass/lab/kubernetes';
import type { Issuer } from './identities.ts';
import type { Random } from './random.ts';
import { PORTS } from './target.ts';

export interface World {
  readonly issuers: readonly Issuer[];
  /** Addresses that calls come from. */
  readonly addresses: readonly string[];
  readonly destination: string;
  /** Principals that policies name besides the usual ones. */
  readonly peers?: readonly string[];
}

export const NAMESPACE = 'shop';
export const ROOT = 'istio-system';
export const LABELS = { app: 'orders' } as const;

/** Workload that policies are about. */
export interface Scope {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Selector or targets of a policy in that namespace. Absent: of the whole namespace, of the workload, of others, and of its Service. */
  readonly select?: (random: Random, namespace: string) => object;
}

const ORDERS: Scope = { namespace: NAMESPACE, labels: LABELS };

const PRINCIPALS = [
  'cluster.local/ns/shop/sa/client',
  'cluster.local/ns/dev/sa/web',
  'cluster.local/ns/dev/sa/web-admin',
  ...['*', 'cluster.local/*', '*/sa/web', '*/ns/dev/sa/web', 'cluster.local/ns/dev/*', 'cluster.loc*', '*web'],
  ...['old.example/ns/shop/sa/client', '*.local/ns/dev/sa/web', 'cluster.local/ns/dev/sa/we*', 'cl*/ns/dev/sa/web'],
];
const NAMESPACES = ['dev', 'shop', 'shop*', '*op', '*', 'd*v', 'sh*-2', 'de', 'dev/k'];
const ACCOUNTS = ['web', 'dev/web', 'shop/client', 'client', 'shop/orders', 'dev/web-admin'];
const DOMAINS = ['cluster.local', '*', 'cluster.*', '*.local', 'old.example', '*.example'];
const REQUEST_PRINCIPALS = [
  ...['*', 'https://a.test/alice', 'https://a.test/*', '*/alice', 'https://b.test/bob', '*alice', 'https://a*'],
  ...['*.test/bob', 'https://a.test/al*', 'https://a.test', 'https://a.test/te/am', 'alice'],
];
/** SNIs by prefix for a port, and by suffix for a host: two conditions select connections to a port of a Service. */
const OF_PORTS = ['outbound_.80_.*', 'outbound_.8080_.*'];
const OF_HOSTS = ['*_.orders.shop', '*_.web.dev'];
const HOSTS = [
  '*',
  'orders.shop',
  'Orders.Shop',
  'orders.shop:7000',
  '*.shop',
  'orders*',
  '*:7000',
  'admin.orders.shop',
];
const METHODS = ['GET', 'POST', 'PUT', '*', 'P*', '*T', 'get', 'OPTIONS'];
const PATHS = [
  ...['*', '/', '/a', '/a/', '/a/*', '*/b', '/a/b', '/A', '/a%2Fb', '/a/b?q=1', '/b', '/a*', '*.txt', '/c', '//a'],
  ...['/a/{*}', '/a/{**}', '/{*}/b', '/a/{*}/c/{**}', '/{**}', '/a/{**}/b', '/{*}/{*}', '/a/b/{*}/'],
];
const PORT_NUMBERS = Object.values(PORTS).map(String);
const BLOCKS = ['10.0.0.0/8', '192.0.2.0/24', '2001:db8::/32', '::1', '198.51.100.0/24', '198.51.100.7', '0.0.0.0/0'];
const TEXTS = ['x', 'x*', '*y', '*', 'xy', 'alice', 'staff', 'read', 'red', 'a', 'b'];
const CLAIMS = [
  '[groups]',
  '[scope]',
  '[org][team]',
  '[org][roles]',
  '[org]',
  '[level]',
  '[a.b]',
  '[tags]',
  '[azp]',
  '[permission]',
];

/** Texts that Go parses as true, as false, and as neither. */
const DRY_RUNS = ['true', 'True', 'TRUE', 'T', 't', '1', 'false', 'F', '0', 'yes', 'on', 'tRUE'];

export function authorizationPolicy(random: Random, world: World, name: string, scope = ORDERS): KubeObject {
  const action = random.pick(['ALLOW', 'ALLOW', 'ALLOW', 'DENY', 'DENY', 'AUDIT']);
  const rules = Array.from({ length: random.chance(0.06) ? 0 : 1 + random.below(3) }, () => rule(random, world));
  const namespace = random.pick([scope.namespace, scope.namespace, ROOT]);
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: {
      name,
      namespace,
      ...(random.chance(0.12) && { annotations: { 'istio.io/dry-run': random.pick(DRY_RUNS) } }),
    },
    spec: {
      ...selection(random, scope, namespace),
      action,
      ...(rules.length > 0 || random.chance(0.5) ? { rules } : {}),
    },
  };
}

export function requestAuthentication(random: Random, world: World, name: string, scope = ORDERS): KubeObject {
  const namespace = random.pick([scope.namespace, scope.namespace, ROOT]);
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'RequestAuthentication',
    metadata: { name, namespace },
    spec: {
      ...selection(random, scope, namespace),
      jwtRules: Array.from({ length: 1 + random.below(2) }, () => jwtRule(random, random.pick(world.issuers))),
    },
  };
}

/** Policy for the workload, its namespace or the mesh. `selected` is in the root namespace with a selector, and applies to no workload. */
export function peerAuthentication(
  random: Random,
  extent: 'mesh' | 'namespace' | 'workload' | 'selected',
  name: string,
  { namespace, labels } = ORDERS,
): KubeObject {
  const chooses = extent === 'workload' || extent === 'selected';
  const mode = () => random.pick(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT', 'STRICT']);
  const ports = random.some(PORT_NUMBERS, 2).map((port) => [port, { mode: mode() }]);
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name, namespace: extent === 'mesh' || extent === 'selected' ? ROOT : namespace },
    spec: {
      ...(chooses && { selector: { matchLabels: labels } }),
      ...(random.chance(0.8) && { mtls: { mode: mode() } }),
      ...(chooses && random.chance(0.6) && { portLevelMtls: Object.fromEntries(ports) }),
    },
  };
}

function selection(random: Random, { labels, select }: Scope, namespace: string): object {
  if (select) return select(random, namespace);
  const which = random.below(10);
  if (which < 5) return {};
  if (which < 8) return { selector: { matchLabels: labels } };
  if (which === 8) return { selector: { matchLabels: { app: 'another' } } };
  return { targetRefs: [{ group: '', kind: 'Service', name: 'orders' }] };
}

function rule(random: Random, world: World): object {
  const from =
    random.chance(0.55) && Array.from({ length: 1 + random.below(2) }, () => ({ source: source(random, world) }));
  const to =
    random.chance(0.6) && Array.from({ length: 1 + random.below(2) }, () => ({ operation: operation(random) }));
  const when = [
    ...(random.chance(0.4) ? Array.from({ length: 1 + random.below(2) }, () => condition(random, world)) : []),
    ...(random.chance(0.15) ? connectionTo(random) : []),
  ];
  return { ...(from && { from }), ...(to && { to }), ...(when.length > 0 && { when }) };
}

function source(random: Random, world: World): object {
  const blocks = [...world.addresses, ...BLOCKS];
  const whole: Record<string, readonly string[]> = {
    principals: [...PRINCIPALS, ...(world.peers ?? [])],
    requestPrincipals: REQUEST_PRINCIPALS,
    namespaces: [...NAMESPACES, ...namespacesOf(world)],
    serviceAccounts: ACCOUNTS,
    trustDomains: DOMAINS,
    ipBlocks: blocks,
    remoteIpBlocks: blocks,
  };
  const chosen = fields(random, whole);
  // The API server takes accounts and principals or namespaces only apart.
  const accounts = ['serviceAccounts', 'notServiceAccounts'].some((name) => name in chosen);
  if (accounts) for (const name of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces']) delete chosen[name];
  return chosen;
}

function namespacesOf({ peers = [] }: World): readonly string[] {
  return peers.flatMap((peer) => peer.split('/')[2] ?? []);
}

function operation(random: Random): object {
  return fields(random, { hosts: HOSTS, methods: METHODS, paths: PATHS, ports: PORT_NUMBERS });
}

/** Picks one or two of the fields, each plain or negated. */
function fields(random: Random, from: Readonly<Record<string, readonly string[]>>): Record<string, string[]> {
  const chosen: Record<string, string[]> = {};
  for (const name of random.some(Object.keys(from), 2)) {
    const field = random.chance(0.25) ? `not${name[0]!.toUpperCase()}${name.slice(1)}` : name;
    chosen[field] = random.some(from[name]!, 3);
  }
  return chosen;
}

/** Conditions as in compiled guards and rules: all of one key, in one condition or in two. */
function connectionTo(random: Random): readonly object[] {
  const [ports, hosts] = [random.some(OF_PORTS, 2), random.some(OF_HOSTS, 2)];
  if (random.chance(0.3)) return [{ key: 'connection.sni', values: ports, notValues: hosts }];
  if (random.chance(0.2)) return [{ key: 'connection.sni', notValues: ports }];
  return [
    { key: 'connection.sni', values: ports },
    { key: 'connection.sni', values: hosts },
  ];
}

function condition(random: Random, world: World): object {
  const blocks = [...world.addresses, ...BLOCKS];
  const claims = CLAIMS.map((claim) => [`request.auth.claims${claim}`, TEXTS] as const);
  const [key, values] = random.pick<readonly [string, readonly string[]]>([
    ['request.headers[x-colour]', TEXTS],
    ['request.headers[X-Colour]', ['red', '*']],
    ['request.headers[:method]', ['GET']],
    ['request.headers[host]', HOSTS],
    ['request.headers[authorization]', ['*', 'Bearer*']],
    ['request.headers[x-sub]', ['alice', '*', 'bob']],
    ['request.headers[x-payload]', ['*']],
    ['source.ip', blocks],
    ['remote.ip', blocks],
    ['source.namespace', [...NAMESPACES, ...namespacesOf(world)]],
    ['source.serviceAccount', ACCOUNTS],
    ['source.trustDomain', DOMAINS],
    ['source.principal', [...PRINCIPALS, ...(world.peers ?? [])]],
    ['request.auth.principal', REQUEST_PRINCIPALS],
    ['request.auth.audiences', ['shop', 'dev', 'sh*', '*', '*v']],
    ['request.auth.presenter', TEXTS],
    ['destination.ip', [world.destination, ...BLOCKS]],
    ['destination.port', PORT_NUMBERS],
    ['connection.sni', ['orders.shop', '*.shop', 'orders*', '*', 'other', ...OF_PORTS, ...OF_HOSTS]],
    ['experimental.envoy.filters.network.none[key]', TEXTS],
    ['request.headers', TEXTS],
    ['request.header[x]', TEXTS],
    ...claims,
  ]);
  const which = random.below(10);
  return {
    key,
    ...(which < 8 && { values: random.some(values, 3) }),
    ...(which >= 7 && { notValues: random.some(values, 2) }),
  };
}

function jwtRule(random: Random, issuer: Issuer): object {
  const places = random.below(8);
  return {
    issuer: issuer.name,
    jwks: issuer.jwks,
    ...(random.chance(0.4) && { audiences: random.some(['shop', 'dev', 'https://ops.test/'], 2) }),
    ...([1, 2].includes(places) && {
      fromHeaders: random.some(
        [
          { name: 'x-token' },
          { name: 'x-token', prefix: 'Token ' },
          { name: 'Authorization', prefix: 'Bearer ' },
          { name: 'x-other' },
        ],
        2,
      ),
    }),
    ...([2, 3].includes(places) && { fromParams: random.some(['token', 'access_token'], 2) }),
    ...([3, 4].includes(places) && { fromCookies: random.some(['session', 'token'], 2) }),
    ...(random.chance(0.5) && { forwardOriginalToken: random.chance(0.7) }),
    ...(random.chance(0.3) && { outputPayloadToHeader: 'x-payload' }),
    ...(random.chance(0.4) && {
      outputClaimToHeaders: [{ header: 'x-sub', claim: random.pick(['sub', 'org.team', 'level']) }],
    }),
    ...(random.chance(0.2) && { spaceDelimitedClaims: ['tags'] }),
  };
}
