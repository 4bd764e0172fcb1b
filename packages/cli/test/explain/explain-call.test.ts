/** The verdict of `meshpass explain`: every refusal with its hop and reason, and no guess where something is not known. */
import { parseAccess } from '@meshpass/access';
import type { ExplainResponse } from '@meshpass/agent/explain/answer';
import { describe, expect, it } from 'vitest';
import { explainJson, formatExplanation } from '../../src/commands/explain.ts';
import { parseWantedCall } from '../../src/explain/call.ts';
import { explainCall } from '../../src/explain/explain-call.ts';
import { known, service } from './known.ts';

const explainText = (...explained: Parameters<typeof formatExplanation>) => formatExplanation(...explained).join('\n');

const OPERATIONS = [
  'GET /orders/*',
  'POST /refunds (with department finance or audit)',
  'but not GET /orders/internal/*',
];
const ORDERS = service({ allow: OPERATIONS });
const ask = (
  url: string,
  answer: ExplainResponse,
  more: { method?: string; access?: string; resolves?: boolean } = {},
) =>
  explainCall({
    call: parseWantedCall(url, more.method ?? 'GET', []),
    known: answer,
    access: more.access === undefined ? undefined : parseAccess(more.access, 'access.yaml'),
    resolves: async () => more.resolves ?? false,
  });

describe("by the broker's answer to the session", () => {
  it.each([
    ['GET', 'http://orders.shop:8080/orders/1', 'allowed', 'grant dev allows GET /orders/1 by GET /orders/*'],
    ['GET', 'http://orders.shop.svc.cluster.local:8080/orders/1?key=secret', 'allowed', 'GET /orders/1 by'],
    ['GET', 'http://orders.shop:8080/a/../orders/1', 'allowed', 'by GET /orders/*'],
    [
      'DELETE',
      'http://orders.shop:8080/orders/1',
      'refused',
      'grant dev does not allow DELETE /orders/1, only: GET /orders/*, ',
    ],
    ['GET', 'http://orders.shop:8080/admin', 'refused', 'grant dev does not allow GET /admin, only: '],
    ['GET', 'http://orders.shop:8080/orders/internal/1', 'refused', 'grant dev denies GET /orders/internal/*'],
    [
      'POST',
      'http://orders.shop:8080/refunds',
      'refused',
      'only with department finance or audit, and your token does not have them',
    ],
    [
      'GET',
      'http://orders.shop:9090/',
      'refused',
      'no grant in this session contains port 9090 of orders.shop, only 8080',
    ],
    ['GET', 'http://ordres.shop:8080/', 'refused', 'no grant in this session contains ordres.shop:8080 (did you mean'],
    ['GET', 'tcp://orders.shop:8080', 'refused', 'is HTTP and refuses other connections'],
  ])('%s %s is %s', async (method, url, verdict, reason) => {
    const explained = await ask(url, known([ORDERS]), { method });
    expect(explainText(explained)).toContain(reason);
    expect(explained.verdict).toBe(verdict);
    expect(explainText(explained)).not.toContain('secret');
  });

  it('is refused if the broker left out every endpoint, as of a Pod in ambient mode', async () => {
    const { host, port } = ORDERS;
    const route = { kind: 'forward' as const, to: [{ host, port, hasNoEndpoint: true as const }], notes: [] };
    const explained = await ask('http://orders.shop:8080/orders/1', known([ORDERS], { routes: { dev: route } }));
    expect(explained.verdict).toBe('refused');
    expect(explainText(explained)).toMatch(/Envoy has no endpoint for orders\.shop\S+:8080 \(503\): .*ambient mode/);
    expect(explained).not.toHaveProperty('beyond');
  });

  it('names session and request of a refusal, for readers of the audit log', async () => {
    const refused = await ask('http://orders.shop:8080/admin', known([ORDERS]), { method: 'GET' });
    expect(explainText(refused)).toMatch(/for your platform team: session \S+$/);
    expect(explainText({ ...refused, contact: '#platform' })).toMatch(/for #platform: session \S+$/);
    expect(explainText(refused, 'ec48caa8')).toMatch(/for your platform team: session \S+, request ec48caa8$/);
  });

  it('is allowed by the claims that the token has', async () => {
    const answer = known([ORDERS]);
    const finance = { ...answer, claims: { ...answer.claims, attested: { department: ['finance'] } } };
    expect(await ask('http://orders.shop:8080/refunds', finance, { method: 'POST' })).toMatchObject({
      verdict: 'allowed',
    });
  });

  it('lists unknowns: other policies of the mesh, and how the platform team finds out', async () => {
    const answer = known([ORDERS]);
    const { beyond } = await ask('http://orders.shop:8080/orders/1', {
      ...answer,
      claims: { ...answer.claims, exp: 2, iat: 1, jti: 'x' },
    });
    expect(beyond).toBe(
      'Unknown beyond what Meshpass decides: other AuthorizationPolicies in the mesh may still deny the call. For the platform team: ' +
        'meshpass policy can-i --as meshpass-dev/alice-1 --to orders.shop:8080 --sni outbound_.8080_._.orders.shop.svc.cluster.local ' +
        '--method GET --path /orders/1 ' +
        `--claims '{"iss":"https://broker.example","aud":["meshpass"],"sub":"github:1","grants":["dev"]}' --kubeconfig FILE`,
    );
  });

  it('leaves a name that the system resolves to the system', async () => {
    const explained = await ask('http://example.com/', known([ORDERS]), { resolves: true });
    expect(explained).toMatchObject({ verdict: 'unknown', hops: [{ hop: 'workspace', verdict: 'unknown' }] });
  });

  it('does not conclude anything from an operation in words that it does not know', async () => {
    const odd = service({ allow: ['GET /orders/* (when the moon is full)'] });
    expect(await ask('http://orders.shop:8080/orders/1', known([odd]))).toMatchObject({ verdict: 'unknown' });
  });

  it('selects the same grant as Envoy: the first that allows method and path', async () => {
    const ops = service({ grant: 'ops', allow: ['DELETE /orders/*'] });
    const answer = known([ORDERS, ops]);
    expect(await ask('http://orders.shop:8080/orders/1', answer, { method: 'DELETE' })).toMatchObject({
      verdict: 'allowed',
      grant: 'ops',
    });
    expect(await ask('http://orders.shop:8080/orders/1', answer)).toMatchObject({ verdict: 'allowed', grant: 'dev' });
    expect(await ask('http://orders.shop:8080/none', answer)).toMatchObject({ verdict: 'refused', grant: 'dev' });
  });

  it('a whole port and a TCP service are allowed as such', async () => {
    expect(await ask('http://orders.shop:8080/any', known([service()]), { method: 'PUT' })).toMatchObject({
      verdict: 'allowed',
    });
    const ledger = service({ host: 'ledger-db.shop.svc.cluster.local', port: 5432, protocol: 'tcp' });
    expect(await ask('tcp://ledger-db.shop:5432', known([ledger]))).toMatchObject({ verdict: 'allowed' });
  });
});

describe('by the routes of the present configuration', () => {
  const LEDGER = service({ host: 'ledger.shop.svc.cluster.local', address: '127.64.0.2', allow: ['GET /entries/*'] });
  const route = (more: object) =>
    known([ORDERS, LEDGER], { routes: { dev: { notes: [], rule: 'shop/away', ...more } as never } });

  it('is refused if a VirtualService leads out of the grants', async () => {
    const away = route({
      kind: 'answer',
      status: 403,
      refusal: {
        code: 'agent_route_not_granted',
        description: 'VirtualService shop/away leads to x.y:80, which grant dev does not allow.',
      },
    });
    const explained = await ask('http://orders.shop:8080/orders/1', away);
    expect(explained.verdict).toBe('refused');
    expect(explainText(explained)).toContain(
      'leads to x.y:80, which grant dev does not allow. [agent_route_not_granted]',
    );
  });

  it('is judged by the rules of the service that it leads to, with the path that it makes', async () => {
    const to = [{ host: LEDGER.host, port: 8080 }];
    const asIs = await ask('http://orders.shop:8080/orders/1', route({ kind: 'forward', to }));
    expect(asIs.verdict).toBe('refused');
    const rewritten = await ask('http://orders.shop:8080/orders/1', route({ kind: 'forward', to, path: '/entries/1' }));
    expect(rewritten.verdict).toBe('allowed');
    const unread = await ask('http://orders.shop:8080/orders/1', route({ kind: 'forward', to, path: null }));
    expect(unread.verdict).toBe('unknown');
  });

  it('is unknown if the routes are, or Envoy does not listen', async () => {
    expect(
      (await ask('http://orders.shop:8080/orders/1', route({ kind: 'unknown', why: 'a condition' }))).verdict,
    ).toBe('unknown');
    expect((await ask('http://orders.shop:8080/orders/1', known([ORDERS], { listening: [] }))).verdict).toBe('unknown');
  });

  it('is allowed, with that note, if only the proxy leads to the service', async () => {
    const answer = known([ORDERS], { listening: [], byProxyOnly: ['127.64.0.1:8080'] });
    const explained = await ask('http://orders.shop:8080/orders/1', answer);
    expect(explained.verdict).toBe('allowed');
    expect(explainText(explained)).toContain('orders.shop.svc.cluster.local:8080 is reachable only through the proxy');
  });
});

describe('by an access file', () => {
  const ACCESS = `
trust: { codespaces: { organization: acme } }
grants:
  dev:
    who: [{ user: alice }]
    to:
      - service: orders.shop
        port: 8080
        allow: [GET /orders/*]
      - { namespace: preview-*, service: web, port: 80 }
`;
  it('names the line that decides', async () => {
    const allowed = await ask('http://orders.shop:8080/orders/1', known([ORDERS]), { access: ACCESS });
    expect(allowed).toMatchObject({ verdict: 'allowed' });
    expect(allowed.hops.at(-1)).toMatchObject({ hop: 'workload', place: 'access.yaml:7:9' });
    expect(explainJson(allowed)).toMatchObject({
      verdict: 'allowed',
      hops: expect.arrayContaining([
        { hop: 'workload', verdict: 'allowed', reason: expect.stringContaining('allows'), place: 'access.yaml:7:9' },
      ]),
    });
    const refused = await ask('http://orders.shop:8080/refunds', known([ORDERS]), { access: ACCESS, method: 'POST' });
    expect(explainText(refused)).toMatch(/does not allow POST \/refunds, only: .* \(access.yaml:7:9\)/);
  });

  it('is unknown if the file has no such grant, or may select the service', async () => {
    const other = await ask('http://orders.shop:8080/orders/1', known([ORDERS]), {
      access: ACCESS.replace('dev:', 'others:'),
    });
    expect(other).toMatchObject({ verdict: 'unknown' });
    const web = service({ host: 'web.preview-1.svc.cluster.local', port: 80 });
    expect(await ask('http://web.preview-1/', known([web]), { access: ACCESS })).toMatchObject({ verdict: 'unknown' });
  });
});

describe('a URL', () => {
  it.each([
    ['https://orders.shop:8080/', 'plain http://'],
    ['orders.shop:8080', 'is not an http:// or tcp:// URL of at most'],
    ['http://user:secret@orders.shop/', 'Remove it.'],
    ['tcp://ledger-db.shop', 'requires a port'],
  ])('%s is refused', (url, message) => {
    expect(() => parseWantedCall(url, 'GET', [])).toThrow(message);
    expect(() => parseWantedCall(url, 'GET', [])).not.toThrow('secret');
  });

  it('cannot carry another method or header than HTTP has', () => {
    expect(() => parseWantedCall('http://a.b/', 'get it', [])).toThrow('--method');
    expect(() => parseWantedCall('http://a.b/', 'GET', ['no colon'])).toThrow('--header');
  });
});
