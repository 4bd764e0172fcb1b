/**
 * Two tokens in one request: the sidecar of orders demands the token of the company's IdP beside ours, in the form that
 * docs/identity/two-tokens.md gives. Real istiod, Envoy, broker and edge; the tokens are signed with the IdP's own key.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { get } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import type { Forgery } from '@meshpass/lab/oidc/forge';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { completed, type DataPath, enrolled, idTokenProof, ORDERS, openDataPath, until } from '../mesh.ts';
import { exampleOf } from './example-of.ts';

const BOB = '00u2bob';
const GRANT = 'payments-dev';
/** Sorts before the broker's URL, as the form with a named issuer wants it. */
const FIRST = 'https://accounts.acme.test';
/** Sorts after it. */
const LAST = 'https://login.acme.test';
const AUDIENCE = 'orders-api';

let dataPath: DataPath;
let alice: AdversarialClient;
let ours: Record<'valid' | 'missing' | 'changed' | 'of another grant', string | undefined>;
let jwks: string;
let server: Server;
let jwksUri: string;

beforeAll(async () => {
  dataPath = await openDataPath();
  alice = dataPath.adversary();
  await enrolled(dataPath, alice);
  const bob = alice.as('bob');
  const proof = dataPath.secret(await dataPath.idp.idToken({ subject: BOB }));
  await completed(dataPath, bob, await bob.enrol(idTokenProof(proof)), 'sre-bulk');
  const valid = (await alice.show()).identityToken!;
  const [head, claims, signature] = valid.split('.');
  const more = Buffer.from(JSON.stringify({ ...decodeJwt(valid), sub: 'somebody' })).toString('base64url');
  ours = {
    valid,
    missing: undefined,
    changed: `${head}.${more}.${signature}`,
    'of another grant': (await bob.show()).identityToken!,
  };
  expect(claims).not.toBe(more);
  jwks = await keysOfIdp();
  // istiod fetches keys by URL and cannot reach the IdP of the lab.
  server = createServer((_request, response) => response.end(jwks));
  const network = dataPath.lab.hosts.orders!.ip.replace(/\d+$/, '1');
  await new Promise<void>((resolve) => server.listen(0, network, resolve));
  jwksUri = `http://${network}:${(server.address() as AddressInfo).port}/jwks`;
});
afterAll(async () => {
  server?.close();
  await remove();
  await dataPath?.close();
});

/** Public keys that verify the IdP's tokens. */
function keysOfIdp(): Promise<string> {
  const { hosts, testCa } = dataPath.lab;
  const at = { host: hosts.github!.ip, port: 8443, servername: 'idp.test', path: '/jwks' };
  return new Promise((resolve, reject) => {
    const headers = { host: 'idp.test:8443' };
    get({ ...at, headers, ca: readFileSync(testCa) }, (answer) => text(answer).then(resolve, reject)).on(
      'error',
      reject,
    );
  });
}

const PATH = '/apis/security.istio.io/v1/namespaces/shop';
async function remove(): Promise<void> {
  if (!dataPath) return;
  await dataPath.lab.kubernetes.call('DELETE', `${PATH}/requestauthentications/orders-user`).catch(() => {});
  await dataPath.lab.kubernetes.call('DELETE', `${PATH}/authorizationpolicies/orders-user`).catch(() => {});
}

interface UserToken {
  readonly issuer?: string;
  readonly audience?: string;
  readonly forgery?: Forgery;
  readonly subject?: string;
}

async function userToken({ issuer = FIRST, audience = AUDIENCE, forgery, subject = BOB }: UserToken = {}) {
  const claims = { iss: issuer };
  return dataPath.secret(await dataPath.idp.idToken({ subject, audience, claims, ...(forgery && { forgery }) }));
}

async function status(own: string | undefined, user: string | undefined, headers = ''): Promise<number | string> {
  const lines = [
    ...(own === undefined ? [] : [`x-meshpass-token: ${own}\r\n`]),
    ...(user === undefined ? [] : [`authorization: Bearer ${user}\r\n`]),
  ];
  const send = `GET /orders/1 HTTP/1.1\r\nHost: orders.shop:8080\r\ncontent-length: 0\r\n${lines.join('')}${headers}\r\n`;
  const { edge } = dataPath.meshpass;
  const report = await alice.tunnel({ target: ORDERS, grant: GRANT, send, edge });
  const found = /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1];
  return found ? Number(found) : report.stage;
}

/** The example of the page, with the names of this test. */
function objects(rule: Record<string, unknown>, issuer: string): readonly KubeObject[] {
  const example = exampleOf('docs/identity/two-tokens.md')
    .replaceAll('https://accounts.example.com', issuer)
    .replaceAll('00u1example', BOB);
  const [authentication, policy] = parseAllDocuments(example).map((one) => one.toJSON()) as [
    KubeObject & { spec: { jwtRules: Record<string, unknown>[] } },
    KubeObject,
  ];
  const { jwksUri: _, issuer: __, ...written } = authentication.spec.jwtRules[0]!;
  return [{ ...authentication, spec: { ...authentication.spec, jwtRules: [{ ...written, ...rule }] } }, policy];
}

async function enforce(wanted: readonly KubeObject[], ready: () => Promise<boolean>): Promise<void> {
  for (const object of wanted) await dataPath.lab.kubernetes.apply(object);
  // Threads of Envoy take a listener over one by one.
  let times = 0;
  await until(
    async () => {
      times = (await ready()) ? times + 1 : 0;
      return times;
    },
    (seen) => seen >= 6,
    60,
  );
}

const USER_TOKENS = {
  valid: {},
  missing: undefined,
  'of another key': { forgery: 'other-key-known-kid' },
  'for another audience': { audience: 'another-api' },
} satisfies Record<string, UserToken | undefined>;
const CASES = Object.keys(USER_TOKENS).flatMap((user) =>
  ['valid', 'missing', 'changed', 'of another grant'].map((own) => [user, own] as const),
) as (readonly [keyof typeof USER_TOKENS, keyof typeof ours])[];
const FORMS = [
  ['with the issuer named', FIRST, () => ({ issuer: FIRST, jwks })],
  ['with the keys alone, and the issuer demanded by the policy', LAST, () => ({ jwksUri })],
] as const;

describe.each(FORMS)('both tokens, %s', (_, issuer, rule) => {
  const bothDemanded = async () => {
    const user = await userToken({ issuer });
    return (await status(ours.valid, user)) === 200 && (await status(ours.valid, undefined)) === 403;
  };
  beforeAll(() => enforce(objects(rule(), issuer), bothDemanded));

  it.each(CASES)("the IdP's %s, ours %s", async (name, own) => {
    const options = USER_TOKENS[name];
    const user = options && (await userToken({ issuer, ...options }));
    const seen = await status(ours[own], user);
    if (name === 'valid' && own === 'valid') expect(seen).toBe(200);
    else expect([401, 403]).toContain(seen);
  });

  it.each([
    'expired',
    'not-yet-valid',
    'unsigned',
    'alg-none',
    'hs256-with-public-key',
    'changed-claims',
    'not-a-token',
  ] as const)("the IdP's %s beside ours that is valid", async (forgery) => {
    expect(await status(ours.valid, await userToken({ issuer, forgery }))).toBe(403);
  });

  it('of another issuer that has the same keys', async () => {
    expect(await status(ours.valid, await userToken({ issuer: 'https://b.evil.test' }))).toBe(403);
  });

  it('of a person whom the policy does not name', async () => {
    expect(await status(ours.valid, await userToken({ issuer, subject: '00u9mallory' }))).toBe(403);
  });

  it('no header instead of the token', async () => {
    const forged = `x-user-sub: ${BOB}\r\nx-user-issuer: ${issuer}\r\n`;
    expect(await status(ours.valid, undefined, forged)).toBe(403);
    expect(await status(ours.valid, await userToken({ issuer, forgery: 'expired' }), forged)).toBe(403);
  });

  it("our token in both places, or the IdP's", async () => {
    const user = await userToken({ issuer });
    expect([401, 403]).toContain(await status(ours.valid, ours.valid));
    expect([401, 403]).toContain(await status(user, user));
  });
});

it('an issuer that sorts after the broker is not checked: every caller is refused', async () => {
  const forged = `x-user-sub: ${BOB}\r\nx-user-issuer: ${LAST}\r\n`;
  const [rule, policy] = objects({ issuer: LAST, jwks }, LAST);
  await enforce([rule!, policy!], async () => (await status(ours.valid, undefined, forged)) === 403);
  expect(await status(ours.valid, await userToken({ issuer: LAST }))).toBe(403);
  expect(await status(ours.valid, await userToken({ issuer: LAST, forgery: 'expired' }), forged)).toBe(403);
  // Without the rule nothing removes the headers of the caller.
  await dataPath.lab.kubernetes.call('DELETE', `${PATH}/requestauthentications/orders-user`);
  await enforce([policy!], async () => (await status(ours.valid, undefined, forged)) === 200);
  expect(await status(ours.valid, undefined)).toBe(403);
});
