/** Random gateways, routes and policies, near the boundaries that Istio and Envoy draw. Every object is valid. */
import type { KubeObject } from '@meshpass/lab/kubernetes';
import type { Issuer } from '../differential/identities.ts';
import type { Random } from '../differential/random.ts';

export const GATEWAYS = 'meshpass-system';
export const ROOT = 'istio-system';
export const PORT = { http: 8081, https: 8443 } as const;
const SELECTOR = { istio: 'meshpass-gateway' };

/** Services of the workloads under test, with the target port of each. */
export const SERVICES = [
  { namespace: 'shop', name: 'one', app: 'orders', ports: { 80: 7000, 81: 7003 } },
  { namespace: 'dev', name: 'two', app: 'web', ports: { 80: 7000 } },
] as const;

export const HOSTS = ['a.test', 'b.test', 'x.a.test', 'x.y.a.test'] as const;
const WILD = ['*.a.test', '*.test', '*'] as const;
export const PATHS = ['/', '/a', '/a/', '/a/b', '/ab', '/A', '/a/b/c', '/b', '/b/1', '/a.txt'] as const;
const PREFIXES = ['/', '/a', '/a/', '/a/b', '/b', '/A'] as const;
const REGEXES = ['/a.*', '/(a|b)', '/b/[0-9]+', '/.*', '.*', '/a(/.*)?', '.*/b'] as const;
export const METHODS = ['GET', 'POST', 'DELETE', 'OPTIONS'] as const;
export const TEAMS = ['red', 'blue', 'redder', ''] as const;

export interface World {
  readonly issuers: readonly Issuer[];
  /** Source addresses of callers. */
  readonly addresses: readonly string[];
  readonly files: { readonly cert: string; readonly key: string; readonly ca: string };
}

const TEXT_FORMS = ['exact', 'prefix', 'regex'] as const;
const TEAM_REGEXES = ['red.*', 'red|blue', '*', '.*', '[a-z]+'] as const;

function teamMatch(random: Random): object {
  const form = random.pick(TEXT_FORMS);
  if (random.chance(0.15)) return {};
  return { [form]: form === 'regex' ? random.pick(TEAM_REGEXES) : random.pick(['red', 'blue', 're']) };
}

function uriMatch(random: Random): object {
  const form = random.pick(TEXT_FORMS);
  return { [form]: random.pick(form === 'exact' ? PATHS : form === 'prefix' ? PREFIXES : REGEXES) };
}

function maybe<T extends object>(random: Random, probability: number, make: () => T): T | object {
  return random.chance(probability) ? make() : {};
}

function httpMatch(random: Random): object {
  return {
    ...maybe(random, 0.75, () => ({ uri: uriMatch(random) })),
    ...maybe(random, 0.08, () => ({ ignoreUriCase: true })),
    ...maybe(random, 0.15, () => ({ method: random.pick([{ exact: 'GET' }, { regex: 'GET|POST' }, { prefix: 'P' }]) })),
    ...maybe(random, 0.2, () => ({ headers: { 'x-team': teamMatch(random) } })),
    ...maybe(random, 0.1, () => ({ withoutHeaders: { 'x-team': teamMatch(random) } })),
    ...maybe(random, 0.15, () => ({
      queryParams: { v: random.pick([{ exact: '1' }, { regex: '[0-9]+' }, { prefix: '1' }, {}]) },
    })),
    ...maybe(random, 0.06, () => ({ authority: random.pick([{ exact: 'a.test' }, { prefix: 'x.' }]) })),
    ...maybe(random, 0.06, () => ({ scheme: { exact: random.pick(['http', 'https']) } })),
    ...maybe(random, 0.08, () => ({ port: random.pick([PORT.http, PORT.https]) })),
    ...maybe(random, 0.1, () => ({ gateways: random.some([`${GATEWAYS}/g0`, `${GATEWAYS}/g1`, 'mesh'], 2) })),
    ...maybe(random, 0.05, () => ({ sourceLabels: random.pick([SELECTOR, { app: 'other' }]) })),
    ...maybe(random, 0.05, () => ({ sourceNamespace: random.pick([GATEWAYS, 'shop']) })),
  };
}

function destination(random: Random): { readonly destination: object; readonly name: string } {
  const { namespace, name, ports } = random.pick(SERVICES);
  const port = Number(random.pick(Object.keys(ports)));
  const host = `${name}.${namespace}.svc.cluster.local`;
  return { destination: { host, port: { number: port } }, name: `${host}:${port}` };
}

/** Names the destination in a header of the response. */
function weighted(random: Random, extra: object = {}): object {
  const { destination: to, name } = destination(random);
  return { destination: to, headers: { response: { set: { 'x-destination': name } }, ...extra } };
}

function requestChanges(random: Random): object {
  return random.pick([
    { set: { 'x-team': 'red' } },
    { remove: ['x-team'] },
    { add: { 'x-team': 'more' } },
    { set: { 'x-other': '1' } },
  ]);
}

/** @param id names the route in a header of the response */
function httpRoute(random: Random, id: string, delegate: string | undefined): object {
  const match = random.chance(0.85)
    ? { match: Array.from({ length: 1 + random.below(2) }, () => httpMatch(random)) }
    : {};
  if (delegate !== undefined && random.chance(0.25)) return { ...match, delegate: { name: delegate } };
  const set = { response: { set: { 'x-route': id } } };
  if (random.chance(0.08))
    return {
      ...match,
      headers: set,
      redirect: { uri: '/moved', ...maybe(random, 0.5, () => ({ redirectCode: 302 })) },
    };
  if (random.chance(0.08)) return { ...match, headers: set, directResponse: { status: random.pick([200, 418, 503]) } };
  const rewrite = random.chance(0.25)
    ? {
        rewrite: random.pick([
          { uri: '/b' },
          { uri: '/' },
          { uri: '/b/' },
          { authority: 'b.test' },
          { uri: '/a/b', authority: 'c.test' },
        ]),
      }
    : {};
  const headers = { headers: { ...set, ...maybe(random, 0.2, () => ({ request: requestChanges(random) })) } };
  const several = random.chance(0.05);
  const route = several
    ? [
        { ...weighted(random), weight: 50 },
        { ...weighted(random), weight: 50 },
      ]
    : [
        weighted(
          random,
          maybe(random, 0.1, () => ({ request: requestChanges(random) })),
        ),
      ];
  return { ...match, ...rewrite, ...headers, route };
}

function routes(random: Random, name: string, delegate?: string): readonly object[] {
  return Array.from({ length: 1 + random.below(4) }, (_, index) => httpRoute(random, `${name}.${index}`, delegate));
}

function virtualService(name: string, namespace: string, spec: object): KubeObject {
  return { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name, namespace }, spec };
}

function virtualServices(random: Random, round: number): readonly KubeObject[] {
  return Array.from({ length: 2 + random.below(4) }, (_, index) => {
    const namespace = random.pick(['shop', 'dev']);
    const name = `r${round}-${index}`;
    const delegate = random.chance(0.35) ? `${name}-part` : undefined;
    const hosts = random.some(random.chance(0.5) ? HOSTS : [...HOSTS, ...WILD], 3);
    // The sidecars' own host must not be a wildcard.
    const sidecars = hosts.some((host) => host.startsWith('*')) ? [] : ['mesh'];
    const known = [`${GATEWAYS}/g0`, `${GATEWAYS}/g0`, `${GATEWAYS}/g1`, 'dev/g2', ...sidecars];
    const gateways = random.chance(0.7) ? [known[0]!, ...random.some(known.slice(2), 1)] : random.some(known, 3);
    const exportTo = random.pick([undefined, undefined, undefined, ['*'], ['.'], ['.', GATEWAYS]]);
    const spec = { hosts, gateways, http: routes(random, name, delegate), ...(exportTo && { exportTo }) };
    const root = virtualService(name, namespace, spec);
    return delegate === undefined
      ? [root]
      : [virtualService(delegate, namespace, { http: routes(random, delegate) }), root];
  }).flat();
}

const SERVER_HOSTS = [
  ['*'],
  ['*.test'],
  ['shop/*', 'dev/a.test'],
  ['a.test', 'b.test'],
  ['*.a.test', 'a.test'],
  ['./*'],
] as const;

/** Without hosts that differ in their namespace only: Envoy would reject the whole listener. */
const SECURE_HOSTS = [['*'], ['*.test'], ['*.a.test', 'a.test'], ['a.test', 'b.test'], ['shop/x.a.test']] as const;

function tlsOf(random: Random, { files }: World): object {
  const served = { serverCertificate: files.cert, privateKey: files.key };
  return random.pick([
    { mode: 'SIMPLE', ...served },
    { mode: 'SIMPLE', ...served },
    { mode: 'MUTUAL', ...served, caCertificates: files.ca },
    { mode: 'OPTIONAL_MUTUAL', ...served, caCertificates: files.ca },
    { mode: 'ISTIO_MUTUAL' },
  ]);
}

function gateway(random: Random, world: World, name: string, namespace: string): KubeObject {
  const http = (index: number) => ({
    port: { number: PORT.http, name: `http-${name}-${index}`, protocol: 'HTTP' },
    hosts: random.pick(SERVER_HOSTS),
    ...maybe(random, 0.06, () => ({ tls: { httpsRedirect: true } })),
  });
  const https = (index: number) => ({
    port: { number: PORT.https, name: `https-${name}-${index}`, protocol: 'HTTPS' },
    hosts: random.pick(SECURE_HOSTS),
    tls: tlsOf(random, world),
  });
  const servers = [http(0), ...(random.chance(0.3) ? [http(1)] : []), ...(random.chance(0.7) ? [https(0)] : [])];
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'Gateway',
    metadata: { name, namespace },
    spec: { selector: SELECTOR, servers },
  };
}

function values(random: Random, from: readonly string[]): readonly string[] {
  return random.some(from, 2);
}

function operation(random: Random): object {
  return {
    ...maybe(random, 0.6, () => ({
      [random.pick(['paths', 'paths', 'notPaths'])]: values(random, [
        '/a',
        '/a*',
        '/b',
        '/b/*',
        '*b',
        '/moved',
        '/a/{*}',
        '/{**}/b',
        '//*',
      ]),
    })),
    ...maybe(random, 0.3, () => ({ [random.pick(['methods', 'notMethods'])]: values(random, METHODS) })),
    ...maybe(random, 0.25, () => ({
      [random.pick(['hosts', 'notHosts'])]: values(random, ['a.test', 'a.test:*', '*.a.test', 'b.test', 'c.test']),
    })),
    ...maybe(random, 0.1, () => ({ ports: values(random, ['8081', '8443', '7000', '7003']) })),
  };
}

function source(random: Random, { addresses }: World, atGateway: boolean): object {
  const ranges = [`${addresses[1]}/32`, addresses[2]!, '10.0.0.0/8', '198.51.100.0/24', '192.0.2.7'];
  const fields = [
    () => ({ [random.pick(['remoteIpBlocks', 'notRemoteIpBlocks'])]: values(random, ranges) }),
    () => ({
      [random.pick(['requestPrincipals', 'notRequestPrincipals'])]: values(random, ['*', 'https://a.test/*', '*/bob']),
    }),
    () =>
      atGateway
        ? { [random.pick(['ipBlocks', 'notIpBlocks'])]: values(random, ranges) }
        : { [random.pick(['namespaces', 'notNamespaces'])]: values(random, [GATEWAYS, 'shop']) },
    () => ({
      [random.pick(['principals', 'notPrincipals'])]: values(random, [
        'cluster.local/ns/meshpass-system/sa/meshpass-gateway',
        'cluster.local/ns/shop/sa/client',
        '*',
      ]),
    }),
  ];
  return random.pick(fields)();
}

function condition(random: Random): object {
  const [key, from] = random.pick([
    ['request.headers[x-team]', ['red', 'red*', '*', 'more', 'red,more']],
    ['request.headers[x-forwarded-proto]', ['http', 'https']],
    ['request.auth.claims[sub]', ['bob', 'al*']],
    ['request.auth.audiences', ['shop']],
  ] as const);
  return { key, [random.pick(['values', 'values', 'notValues'])]: values(random, from) };
}

function policy(random: Random, world: World, name: string): KubeObject {
  const [namespace, attachment, atGateway] = random.pick([
    [GATEWAYS, { selector: { matchLabels: SELECTOR } }, true],
    [GATEWAYS, {}, true],
    ['shop', { selector: { matchLabels: { app: 'orders' } } }, false],
    [GATEWAYS, { targetRefs: [{ kind: 'Gateway', group: 'gateway.networking.k8s.io', name: 'g0' }] }, true],
    ['shop', { selector: { matchLabels: { app: 'orders' } } }, false],
    ['dev', { selector: { matchLabels: { app: 'web' } } }, false],
    ['dev', {}, false],
    [ROOT, { selector: { matchLabels: SELECTOR } }, true],
  ] as const);
  const rule = () => ({
    ...maybe(random, 0.5, () => ({ from: [{ source: source(random, world, atGateway) }] })),
    ...maybe(random, 0.6, () => ({ to: [{ operation: operation(random) }] })),
    ...maybe(random, 0.25, () => ({ when: [condition(random)] })),
  });
  const filled = (given: object): object =>
    JSON.stringify(given).includes('"operation":{}') ? { to: [{ operation: { methods: ['GET'] } }] } : given;
  const rules = Array.from({ length: 1 + random.below(2) }, () => filled(rule()));
  const action = random.chance(0.45) ? 'DENY' : 'ALLOW';
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace },
    // A rule that refuses everything leaves nothing to compare.
    spec: { ...attachment, action, rules: rules.filter((one) => action === 'ALLOW' || Object.keys(one).length > 0) },
  };
}

function requestAuthentication(random: Random, { issuers }: World, name: string): KubeObject {
  const [namespace, labels] = random.pick([
    [GATEWAYS, SELECTOR],
    ['shop', { app: 'orders' }],
  ] as const);
  const jwtRules = random.some(issuers, 2).map(({ name: issuer, jwks }) => ({
    issuer,
    jwks,
    ...maybe(random, 0.5, () => ({ forwardOriginalToken: true })),
    ...maybe(random, 0.2, () => ({ audiences: ['shop'] })),
  }));
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'RequestAuthentication',
    metadata: { name, namespace },
    spec: { selector: { matchLabels: labels }, jwtRules },
  };
}

/** Client TLS for the whole mesh. In the root namespace, the services' own DestinationRules hide it. */
const MESH_TLS = [
  { mode: 'ISTIO_MUTUAL', namespace: GATEWAYS },
  { mode: 'DISABLE', namespace: ROOT },
] as const;

/** Sets client TLS in two of three rounds. */
function meshTls(round: number): readonly KubeObject[] {
  return MESH_TLS.slice(round % 3, (round % 3) + 1).map(({ mode, namespace }) => ({
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: { name: 'mesh', namespace },
    // A kept connection would continue under previous policies.
    spec: {
      host: '*.local',
      trafficPolicy: { tls: { mode }, connectionPool: { http: { maxRequestsPerConnection: 1 } } },
    },
  }));
}

/** Objects of one round, in the order in which they are applied. */
export function generateObjects(random: Random, world: World, round: number): readonly KubeObject[] {
  const many = (count: number, make: (name: string) => KubeObject) =>
    Array.from({ length: count }, (_, index) => make(`r${round}-${index}`));
  return [
    gateway(random, world, 'g0', GATEWAYS),
    ...(random.chance(0.5) ? [gateway(random, world, 'g1', GATEWAYS)] : []),
    ...(random.chance(0.25) ? [gateway(random, world, 'g2', 'dev')] : []),
    ...meshTls(round),
    ...virtualServices(random, round),
    ...many(random.below(4), (name) => policy(random, world, name)),
    ...many(random.below(2), (name) => requestAuthentication(random, world, name)),
  ];
}
