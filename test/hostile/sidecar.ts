/**
 * Calls that the workload's own Envoy must refuse: a thief with a live session's certificates and token stands inside the
 * cluster, past the edge, and talks to the mesh gateway or straight to a pod.
 */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import type { TunnelReport, TunnelRequest } from '@meshpass/cli/drill/tunnel';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { completed, type DataPath, enrolled, idTokenProof, openDataPath, until } from '../mesh.ts';
import type { HostileArea, HostileInput, Outcome } from './area.ts';

interface Thief {
  readonly dataPath: DataPath;
  /** Holds what alice's session holds; `as('bob')` what bob's does. */
  readonly thief: AdversarialClient;
  readonly token: string;
  readonly foreign: { readonly bob: string; readonly otherAudience: string; readonly idp: string };
  /** The issuer's public key set, which anyone can fetch. */
  readonly jwks: { readonly keys: readonly { readonly kid: string; readonly n: string }[] };
}

interface Try extends Partial<TunnelRequest> {
  readonly method?: string;
  readonly path?: string;
  readonly version?: string;
  /** Header lines, each ended. */
  readonly headers?: string;
  readonly body?: string;
  /** Default: alice's own; null sends none. */
  readonly token?: ((thief: Thief) => string) | null;
  /** Owner of the credentials. Default: alice. */
  readonly by?: string;
  /** Default: the mesh gateway. */
  readonly pod?: { readonly host: string; readonly port: number };
}

/** Answer of orders.shop to a request that should not have reached it. */
const LEAKS = /the list of all customers|"admin":true|"x-meshpass-login":"admin"/;

async function attempt(world: Thief, what: Try): Promise<Outcome> {
  const { by, pod, method = 'GET', path = '/orders/1', version = 'HTTP/1.1', headers = '', body = '', ...rest } = what;
  const { token: made, ...order } = rest;
  const adversary = by === undefined ? world.thief : world.thief.as(by);
  const token = made === null ? undefined : (made?.(world) ?? (await adversary.show()).identityToken);
  const line = token === undefined ? '' : `x-meshpass-token: ${token}\r\n`;
  const length = /content-length|transfer-encoding/i.test(headers) ? '' : `content-length: ${body.length}\r\n`;
  const send = `${method} ${path} ${version}\r\nHost: orders.shop:8080\r\n${length}${line}${headers}\r\n${body}`;
  const [gatewayHost, gatewayPort] = world.dataPath.lab.gatewayAddress.split(':');
  const straightTo = pod
    ? { host: world.dataPath.lab.hosts[pod.host]!.ip, port: pod.port }
    : { host: gatewayHost!, port: Number(gatewayPort) };
  const grant = by === 'bob' ? 'sre-bulk' : 'payments-dev';
  return outcomeOf(
    await adversary.tunnel({ target: 'orders.shop.svc.cluster.local:8080', grant, send, ...order, straightTo }),
  );
}

function outcomeOf({ stage, answer = '', error = '' }: TunnelReport): Outcome {
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1];
  const leaked = LEAKS.exec(answer)?.[0];
  const said = status === undefined ? `${stage}: ${error}` : `HTTP ${status}`;
  return { accepted: status?.startsWith('2') === true || leaked !== undefined, answer: leaked ?? said };
}

/** @param attack one fault away from `control`, which is accepted; by default a granted request with everything right */
function input(fault: string, attack: Try, control: Try = {}): HostileInput<Thief> {
  return {
    fault,
    attack: (world) => attempt(world, attack),
    control: (world) => attempt(world, control),
  };
}

type Part = Record<string, unknown>;
const encode = (part: Part) => Buffer.from(JSON.stringify(part)).toString('base64url');
const decode = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString()) as Part;

/** The session's own token with parts of it changed, and signed as the forger can. */
function forged(change: { readonly header?: Part; readonly claims?: Part }, signer?: (signed: string) => Buffer) {
  return ({ token }: Thief): string => {
    const [header, claims, signature] = token.split('.') as [string, string, string];
    const signed = `${encode({ ...decode(header), ...change.header })}.${encode({ ...decode(claims), ...change.claims })}`;
    return `${signed}.${signer ? signer(signed).toString('base64url') : signature}`;
  };
}

const ownRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ownJwk = ownRsa.publicKey.export({ format: 'jwk' }) as Part;
const byOwnRsa = (signed: string) => sign('sha256', Buffer.from(signed), ownRsa.privateKey);
const byPublicKey = (world: Thief) => (signed: string) =>
  createHmac('sha256', world.jwks.keys[0]!.n).update(signed).digest();
const other = (port: number, host: string, subset = '') => `outbound_.${port}_.${subset}_.${host}`;
const orders = { host: 'orders', port: 8080 };

const REQUESTS: readonly HostileInput<Thief>[] = [
  input('a path that is not granted', { path: '/admin/customers' }),
  input('a granted path in another case', { path: '/Orders/1' }),
  input('a path that leaves the granted one', { path: '/orders/../admin/x' }),
  input('a path that leaves the granted one, percent-encoded', { path: '/orders/%2e%2e/admin/x' }),
  input('a path that leaves the granted one, half encoded', { path: '/orders/.%2e/admin/x' }),
  input('a path that leaves the granted one by backslashes', { path: '/orders/..\\admin\\x' }),
  input('a path that leaves the granted one after a dot segment', { path: '/orders/./../admin/x' }),
  input('a path with a second leading slash', { path: '//admin/x' }),
  input('a path whose first letter is percent-encoded', { path: '/%61dmin/x' }),
  input('a granted path as the query of another', { path: '/admin/x?/orders/1' }),
  input('a granted path as the fragment of another', { path: '/admin/x#/orders/1' }),
  input('a granted path as a parameter of another', { path: '/admin;/orders/1' }),
  input('a path above the granted one', { path: '/orders' }),
  input('a path below an exact one', { path: '/whoami/x' }, { path: '/whoami' }),
  input('an exact path with a slash at its end', { path: '/whoami/' }, { path: '/whoami' }),
  input('an absolute form of a path that is not granted', { path: 'http://orders.shop:8080/admin/x' }),
  input('a method that is not granted', { method: 'DELETE' }),
  input('a method of another path', { method: 'POST' }),
  input('a method of another path, the other way round', { path: '/refunds' }, { path: '/refunds', method: 'POST' }),
  input('a method in lower case', { method: 'get' }),
  input('an invented method', { method: 'PROPFIND' }),
  input('TRACE', { method: 'TRACE' }),
  input('CONNECT to the pod itself', { method: 'CONNECT', path: '127.0.0.1:9090' }),
  input('OPTIONS, which is a method like any other', { method: 'OPTIONS' }),
  ...['x-original-url', 'x-rewrite-url', 'x-envoy-original-path', 'x-forwarded-uri', ':path'].map((name) =>
    input(`a refused path with a granted one in ${name}`, { path: '/admin/x', headers: `${name}: /orders/1\r\n` }),
  ),
  input('a method in x-http-method-override', { method: 'DELETE', headers: 'x-http-method-override: GET\r\n' }),
  input(
    'an identity in a header that the client wrote',
    { path: '/whoami', headers: 'x-meshpass-login: admin\r\n', token: null },
    { path: '/whoami', headers: 'x-meshpass-login: admin\r\n' },
  ),
  input('a forwarded certificate of another client', {
    path: '/admin/x',
    headers: 'x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/client\r\n',
  }),
  input(
    'a second request hidden behind Content-Length and Transfer-Encoding',
    {
      headers: 'content-length: 4\r\ntransfer-encoding: chunked\r\n',
      method: 'POST',
      path: '/refunds',
      body: '0\r\n\r\nGET /admin/x HTTP/1.1\r\nHost: orders.shop\r\n\r\n',
    },
    { method: 'POST', path: '/refunds', headers: 'transfer-encoding: chunked\r\n', body: '0\r\n\r\n' },
  ),
  input(
    'two different lengths',
    { method: 'POST', path: '/refunds', headers: 'content-length: 0\r\ncontent-length: 7\r\n' },
    { method: 'POST', path: '/refunds', headers: 'content-length: 0\r\n' },
  ),
  input('a name with a space before the colon', { headers: 'x-a : b\r\n' }, { headers: 'x-a: b\r\n' }),
  input('a header with a NUL', { headers: 'x-a: b\0c\r\n' }, { headers: 'x-a: bc\r\n' }),
  input('a request line without a version', { version: '' }),
  input('a version of HTTP that does not exist', { version: 'HTTP/1.2' }),
];

const TOKENS: readonly HostileInput<Thief>[] = [
  input('no identity token', { token: null }),
  input('an empty identity token', { token: () => '' }),
  input('an identity token that is garbage', { token: () => 'garbage' }),
  input('an unsigned token', { token: ({ token }) => `${token.split('.', 2).join('.')}.` }),
  input('a token without its third part', { token: ({ token }) => token.split('.', 2).join('.') }),
  input('a token with a part more', { token: ({ token }) => `${token}.e30` }),
  input('a token of algorithm none', { token: forged({ header: { alg: 'none' } }, () => Buffer.alloc(0)) }),
  input('a token of algorithm None', { token: forged({ header: { alg: 'None' } }, () => Buffer.alloc(0)) }),
  input('a token signed with the public key as a shared secret', {
    token: (world) => forged({ header: { alg: 'HS256' } }, byPublicKey(world))(world),
  }),
  input('a token of another key under our key id', { token: forged({}, byOwnRsa) }),
  input('a token of another key that it brings along', { token: forged({ header: { jwk: ownJwk } }, byOwnRsa) }),
  input('a token of another key that it points to', {
    token: forged({ header: { jku: 'https://idp.test:8443/jwks' } }, byOwnRsa),
  }),
  input('a token of a key id that is not ours', { token: forged({ header: { kid: 'other' } }, byOwnRsa) }),
  input('a token whose grants were changed', { token: forged({ claims: { grants: ['sre-bulk', 'payments-dev'] } }) }),
  input('a token that was given a longer life', { token: forged({ claims: { exp: 4_102_444_800 } }) }),
  input('a token of another issuer', { token: forged({ claims: { iss: 'https://idp.test:8443' } }, byOwnRsa) }),
  input('a token whose signature lost its end', { token: ({ token }) => token.slice(0, -8) }),
  input('a token whose signature was turned round', {
    token: ({ token }) => token.replace(/[^.]+$/, (signature) => [...signature].reverse().join('')),
  }),
  input('an ID token of ours for another audience', { token: ({ foreign }) => foreign.otherAudience }),
  input("a proof of the company's IdP instead of our token", { token: ({ foreign }) => foreign.idp }),
  input("somebody else's token, of another grant", { token: ({ foreign }) => foreign.bob }),
  input('a token behind the word Bearer', { token: ({ token }) => `Bearer ${token}` }),
  input('a token and then a forged one', {
    token: (world) => `${world.token}\r\nx-meshpass-token: ${forged({}, byOwnRsa)(world)}`,
  }),
  input(
    'a token in the query',
    { token: null, path: '/orders/1?access_token=x' },
    { path: '/orders/1?access_token=x' },
  ),
  input('a token of 200 KB', { token: ({ token }) => token + 'A'.repeat(200_000) }),
];

const CERTIFICATES: readonly HostileInput<Thief>[] = [
  input('a connection without a certificate', { grant: 'none' }),
  input('a certificate of another grant with her own token', { by: 'mixed', grant: 'sre-bulk' }, { by: 'bob' }),
  input('her own certificate with the token of another grant', { by: 'both' }),
  input('HTTP on a connection that claims to carry none', { alpn: ['istio'], token: null }),
  input('plain application protocols to the gateway', { alpn: ['h2', 'http/1.1'] }),
];

const SERVER_NAMES: readonly HostileInput<Thief>[] = [
  ...(
    [
      ['a service that no grant names', other(80, 'web.dev.svc.cluster.local')],
      ['the control plane', other(15012, 'istiod.istio-system.svc.cluster.local')],
      ['the API server', other(443, 'kubernetes.default.svc.cluster.local')],
      ['the gateway itself', other(15443, 'meshpass-gateway.meshpass-system.svc.cluster.local')],
      ['a granted service at a port that is not granted', other(9090, 'orders.shop.svc.cluster.local')],
      ['a granted service at a port that is not there', other(8081, 'orders.shop.svc.cluster.local')],
      ['a subset that a granted service does not have', other(8080, 'orders.shop.svc.cluster.local', 'v2')],
      ['the inbound cluster', 'inbound_.8080_._.orders.shop.svc.cluster.local'],
      ['a plain host name', 'orders.shop.svc.cluster.local'],
      ['a host of the internet', 'example.com'],
      ['a granted service in another domain', other(8080, 'orders.shop.svc.cluster.example')],
    ] as const
  ).map(([whom, sni]) => input(`at the gateway, the name of ${whom}`, { sni })),
  ...[
    '',
    'orders',
    other(8080, 'other-orders.shop.svc.cluster.local', 'v2'),
    other(9090, 'orders.shop.svc.cluster.local', 'v2'),
    other(8081, 'orders.shop.svc.cluster.local'),
    `x${other(8080, 'orders.shop.svc.cluster.local')}`,
    `${other(8080, 'orders.shop.svc.cluster.local', 'v2')}.example`,
  ].map((sni) => input(`at the pod, the name ${JSON.stringify(sni)}`, { pod: orders, sni }, { pod: orders })),
  input(
    'at the pod of a service that is not granted, its own name',
    { pod: { host: 'web', port: 8080 }, sni: other(80, 'web.dev.svc.cluster.local'), path: '/' },
    { pod: orders },
  ),
  input(
    'at the pod, a port that is not granted',
    { pod: { host: 'orders', port: 9090 }, sni: other(9090, 'orders.shop.svc.cluster.local') },
    { pod: orders },
  ),
];

export const sidecar: HostileArea<Thief> = {
  name: 'mesh gateway and sidecar',
  inputs: [...REQUESTS, ...TOKENS, ...CERTIFICATES, ...SERVER_NAMES],
  open: async () => {
    const dataPath = await openDataPath();
    const alice = dataPath.adversary();
    const bob = alice.as('bob');
    await enrolled(dataPath, alice);
    const proof = dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' }));
    await completed(dataPath, bob, await bob.enrol(idTokenProof(proof)), 'sre-bulk');
    const thief = dataPath.adversary('github');
    const [hers, his] = [await alice.show(), await bob.show()];
    await thief.take(hers);
    await thief.as('bob').take(his);
    await thief.as('mixed').take({ ...hers, svids: his.svids });
    await thief.as('both').take({ ...hers, identityToken: his.identityToken! });
    const { access_token } = (await alice.token('sts.amazonaws.com')).json as { access_token: string };
    const jwks = (await alice.ask('GET', `${dataPath.meshpass.brokerUrl}/jwks`)).json as Thief['jwks'];
    const world: Thief = {
      dataPath,
      thief,
      jwks,
      token: hers.identityToken!,
      foreign: {
        bob: his.identityToken!,
        otherAudience: dataPath.secret(access_token),
        idp: dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' })),
      },
    };
    // The policies of a new session's grants are there before it; what sidecars know of the keys comes within a second.
    for (const by of [undefined, 'bob'] as const)
      await until(
        () => attempt(world, by ? { by } : {}),
        ({ accepted }) => accepted,
      );
    return world;
  },
  close: async ({ dataPath }) => {
    try {
      await dataPath.expectNoSecretKept();
    } finally {
      await dataPath.close();
    }
  },
};
