import { describe, expect, it } from 'vitest';
import { CLIENT, get, guard, ORDERS, policy, say, view } from './shop.ts';

const decide = (policies: string, call = get('/a')) => say(guard(policies).decide(call));
const tcp = (port: number, more = {}) => ({ principal: CLIENT, port, ...more });

describe('the order of policies', () => {
  it('without policies every call is allowed', () => {
    expect(decide('')).toBe('allowed: open');
  });
  it('the first ALLOW closes everything that it does not list', () => {
    const allow = policy({ rules: [{ to: [{ operation: { paths: ['/a'] } }] }] });
    expect(decide(allow)).toBe('allowed by p[0]');
    expect(decide(allow, get('/b'))).toBe('refused 403 by p');
  });
  it('an ALLOW without rules, or with none, closes everything', () => {
    expect(decide(policy({}))).toBe('refused 403 by p');
    expect(decide(policy({ rules: [] }))).toBe('refused 403 by p');
    expect(decide(policy({ rules: [{}] }))).toBe('allowed by p[0]');
  });
  it('DENY comes before ALLOW', () => {
    const both = policy({ rules: [{}] }) + policy({ action: 'DENY', rules: [{}, {}] }, { name: 'no' });
    expect(decide(both)).toBe('refused 403 by no[0]');
  });
  it('a rule is found in its file', () => {
    const { rule } = guard(policy({ rules: [{}] })).decide(get('/a'));
    expect(rule!.place()).toMatchObject({ file: 'mesh.yaml', line: 22 });
  });
  it('AUDIT is reported and decides nothing', () => {
    const decision = guard(policy({ action: 'AUDIT', rules: [{}] })).decide(get('/a'));
    expect(decision).toMatchObject({ allowed: true, reason: 'open', audited: [{ name: 'p', rule: 0 }] });
  });
  it('dry run reports its would-be decision, and a lone ALLOW in dry run closes nothing', () => {
    const dry = { annotations: { 'istio.io/dry-run': 'true' } };
    const allow = guard(policy({ rules: [] }, dry)).decide(get('/a'));
    expect(allow).toMatchObject({ allowed: true, reason: 'open', dryRun: { allowed: 'no-rule' } });
    const deny = guard(policy({ action: 'DENY', rules: [{}] }, dry)).decide(get('/a'));
    expect(deny).toMatchObject({ allowed: true, dryRun: { denied: { name: 'p' } } });
  });
});

describe('rules on ports that are not HTTP', () => {
  const path = { to: [{ operation: { paths: ['/a'] } }] };
  it('an ALLOW with an HTTP field is dropped', () => {
    expect(decide(policy({ rules: [path] }), tcp(5432))).toBe('refused by p');
    expect(decide(policy({ rules: [path, { to: [{ operation: { ports: ['5432'] } }] }] }), tcp(5432))).toBe(
      'allowed by p[1]',
    );
  });
  it('a DENY loses the field and denies more', () => {
    expect(decide(policy({ action: 'DENY', rules: [path] }), tcp(5432))).toBe('refused by p[0]');
    const mixed = { to: [{ operation: { paths: ['/a'], ports: ['1'] } }] };
    expect(decide(policy({ action: 'DENY', rules: [mixed] }), tcp(5432))).toBe('allowed: open');
  });
  it('on an undeclared port the client chooses the protocol', () => {
    const deny = policy({ action: 'DENY', rules: [{ to: [{ operation: { methods: ['GET'], ports: ['7002'] } }] }] });
    const allow = policy({ rules: [path, { to: [{ operation: { ports: ['7002'] } }] }] });
    expect(decide(deny, get('/a', { port: 7002 }))).toBe('refused 403 by p[0]');
    expect(decide(deny, tcp(7002))).toBe('refused by p[0]');
    expect(decide(allow, get('/b', { port: 7002, announces: 'tcp' }))).toBe('allowed by p[1]');
  });
  it('in plain text the first bytes decide, whatever was announced', () => {
    const deny = policy({ action: 'DENY', rules: [{ to: [{ operation: { notPaths: ['/a'], ports: ['7002'] } }] }] });
    const { principal, ...plain } = get('/a', { port: 7002, announces: 'tcp' });
    expect(decide(deny, { ...plain, principal })).toBe('refused by p[0]');
    expect(decide(deny, plain)).toBe('allowed: open');
  });
  it('calls that are not HTTP are refused on an HTTP port', () => {
    expect(decide('', tcp(8080))).toBe('refused: not-http');
  });
});

describe('traps', () => {
  it('an unknown condition key drops the whole rule, even of a DENY', () => {
    const rule = { when: [{ key: 'request.header[x]', values: ['a'] }] };
    expect(decide(policy({ action: 'DENY', rules: [rule] }))).toBe('allowed: open');
    expect(decide(policy({ rules: [rule] }))).toBe('refused 403 by p');
  });
  it('an invalid address block drops an ALLOW rule, and is dropped from a DENY', () => {
    const rule = { from: [{ source: { ipBlocks: ['10.0.0.256'] } }] };
    expect(decide(policy({ rules: [rule] }))).toBe('refused 403 by p');
    expect(decide(policy({ action: 'DENY', rules: [rule] }))).toBe('refused 403 by p[0]');
  });
  it('hosts are compared with their port, case-insensitively', () => {
    const host = (value: string) => policy({ rules: [{ to: [{ operation: { hosts: [value] } }] }] });
    const at = (authority: string) => get('/', { http: { method: 'GET', path: '/', authority } });
    expect(decide(host('Orders.Shop'), at('orders.SHOP'))).toBe('allowed by p[0]');
    expect(decide(host('orders.shop'), at('orders.shop:80'))).toBe('refused 403 by p');
    expect(decide(host('orders.shop*'), at('orders.shop:80'))).toBe('allowed by p[0]');
  });
  it('methods and paths are compared case-sensitively', () => {
    const to = (operation: object) => policy({ rules: [{ to: [{ operation }] }] });
    expect(decide(to({ methods: ['get'] }))).toBe('refused 403 by p');
    expect(decide(to({ paths: ['/A'] }))).toBe('refused 403 by p');
  });
  it('a negative condition alone matches unauthenticated callers', () => {
    const notClient = policy({ action: 'DENY', rules: [{ from: [{ source: { notPrincipals: [CLIENT] } }] }] });
    const { principal: _, ...nobody } = get('/a');
    expect(decide(notClient)).toBe('allowed: open');
    expect(decide(notClient, nobody)).toBe('refused 403 by p[0]');
  });
  it('the last address of x-forwarded-for is used, if it is valid', () => {
    const block = policy({ rules: [{ from: [{ source: { remoteIpBlocks: ['198.51.100.0/24'] } }] }] });
    const from = (value: string) => get('/a', { sourceIp: '10.0.0.1', headers: { 'x-forwarded-for': value } });
    expect(decide(block, from('10.9.9.9, 198.51.100.7'))).toBe('allowed by p[0]');
    expect(decide(block, from('198.51.100.7, 10.9.9.9'))).toBe('refused 403 by p');
    expect(decide(block, { ...from('198.51.100.7'), port: 5432 })).toBe('refused by p');
    const own = policy({ rules: [{ from: [{ source: { remoteIpBlocks: ['10.0.0.1'] } }] }] });
    expect(decide(own, from('nonsense'))).toBe('allowed by p[0]');
  });
});

describe('the peer', () => {
  const from = (source: object) => policy({ rules: [{ from: [{ source }] }] });
  const of = (principal: string) => get('/a', { principal });
  it.each([
    [{ principals: [CLIENT] }, CLIENT, true],
    [{ principals: ['*'] }, CLIENT, true],
    [{ principals: ['*/sa/client'] }, CLIENT, true],
    [{ principals: ['cluster.local/ns/shop/*'] }, CLIENT, true],
    [{ principals: ['spiffe://cluster.local/ns/shop/sa/client'] }, CLIENT, false],
    [{ namespaces: ['shop'] }, CLIENT, true],
    [{ namespaces: ['sho'] }, CLIENT, false],
    [{ namespaces: ['s*p'] }, CLIENT, true],
    [{ namespaces: ['s*x'] }, CLIENT, false],
    [{ serviceAccounts: ['client'] }, CLIENT, true],
    [{ serviceAccounts: ['shop/client'] }, CLIENT, true],
    [{ serviceAccounts: ['dev/client'] }, CLIENT, false],
    [{ serviceAccounts: ['shop/client'] }, 'cluster.local/ns/shop/k/v/sa/client/x', true],
    [{ serviceAccounts: ['shop/client'] }, 'cluster.local/ns/shop/sa/client-2', false],
    [{ trustDomains: ['cluster.*'] }, CLIENT, true],
    [{ trustDomains: ['*.local'] }, CLIENT, true],
    [{ trustDomains: ['cluster'] }, CLIENT, false],
  ])('%j and %s: %s', (source, principal, allowed) => {
    expect(guard(from(source)).decide(of(principal)).allowed).toBe(allowed);
  });
  it("belongs to the mesh's own trust domain or one of its aliases", () => {
    const old = of('old.example/ns/shop/sa/client');
    expect(say(guard('').decide(old))).toBe('refused: foreign-peer');
    const config = { trustDomain: 'new.example', trustDomainAliases: ['old.example'] };
    expect(say(guard('', config).decide(old))).toBe('allowed: open');
    expect(say(guard(from({ principals: ['new.example/ns/shop/sa/client'] }), config).decide(old))).toBe(
      'allowed by p[0]',
    );
    expect(say(guard(from({ principals: [CLIENT] }), config).decide(old))).toBe('allowed by p[0]');
    expect(say(guard(from({ trustDomains: ['new.example'] }), config).decide(old))).toBe('allowed by p[0]');
  });
});

describe('paths', () => {
  const only = (...paths: string[]) => policy({ rules: [{ to: [{ operation: { paths } }] }] });
  it.each([
    ['/a/../b', '/b'],
    ['/a/%2e%2E/b', '/b'],
    ['/a/./b/', '/a/b/'],
    ['/a/..', '/'],
    ['/../a', '/a'],
    ['/a\\b', '/a/b'],
    ['/%61%2Db%7E', '/a-b~'],
    ['/a%2etxt', '/a.txt'],
    ['/a|b^c', '/a%7Cb%5Ec'],
    ['/a{b}', '/a%7Bb%7D'],
    ['/a%2Fb', '/a%2Fb'],
    ['//a', '//a'],
    ['/a?x=/../b', '/a'],
  ])('%s is %s', (sent, path) => {
    expect(decide(only(path), get(sent))).toBe('allowed by p[0]');
  });
  it('with a zero byte or a fragment are always refused', () => {
    expect(decide(only('*'), get('/a%00'))).toBe('refused 400: malformed-path');
    expect(decide(only('*'), get('/a#b'))).toBe('refused 400: malformed-path');
  });
  it('are normalized by the mesh configuration', () => {
    const under = (
      pathNormalization: 'NONE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES',
      path: string,
      sent: string,
    ) => guard(only(path), { pathNormalization }).decide(get(sent)).allowed;
    expect(under('NONE', '/a/../b', '/a/../b')).toBe(true);
    expect(under('MERGE_SLASHES', '/a/b', '//a///b')).toBe(true);
    expect(under('MERGE_SLASHES', '/a%2Fb', '/a%2Fb')).toBe(true);
    expect(under('DECODE_AND_MERGE_SLASHES', '/a/b', '/a%2F/b')).toBe(true);
    expect(under('DECODE_AND_MERGE_SLASHES', '/b', '/a%2F..%5Cb')).toBe(true);
    // Dots with parameters, which Envoy reads as dots unless they are escaped.
    expect(under('MERGE_SLASHES', '/b', '/a/..;x=1/b')).toBe(true);
    expect(under('MERGE_SLASHES', '/a/..;x=1/b', '/a/%2e%2e;x=1/b')).toBe(true);
  });
  it.each([
    ['/a/{*}', '/a/b', true],
    ['/a/{*}', '/a/', false],
    ['/a/{*}', '/a/b/c', false],
    ['/a/{*}', '/a/*', true],
    ['/a/{**}', '/a/', true],
    ['/a/{**}', '/a/b/c', true],
    ['/a/{**}/c', '/a/b/b/c', true],
    ['/{*}/b', '/a/b', true],
    ['/a/{*}/', '/a/b/', true],
    ['/a.c/{*}', '/abc/d', false],
  ])('template %s and %s: %s', (template, path, allowed) => {
    expect(guard(only(template)).decide(get(path)).allowed).toBe(allowed);
  });
});

describe('external authorizers', () => {
  const ask = policy({
    action: 'CUSTOM',
    provider: { name: 'ext' },
    rules: [{ to: [{ operation: { paths: ['/a'] } }] }],
  });
  const authorizers = [{ name: 'ext', protocol: 'http' as const }];
  it('are asked if a rule matches, and may refuse', () => {
    const known = guard(ask, { authorizers });
    expect(known.decide(get('/a'))).toMatchObject({ allowed: true, external: [{ provider: 'ext' }] });
    expect(say(known.decide(get('/a', { external: { ext: false } })))).toBe('refused 403 by p[0]');
    expect(known.decide(get('/b'))).toEqual({ allowed: true, reason: 'open', as: 'http' });
  });
  it('in dry run refuse in istiod 1.31 if the mesh knows them', () => {
    const spec = { action: 'CUSTOM', provider: { name: 'ext' }, rules: [{ to: [{ operation: { paths: ['/a'] } }] }] };
    const dry = policy(spec, { annotations: { 'istio.io/dry-run': 'true' } });
    expect(say(guard(dry, { authorizers }).decide(get('/a')))).toBe('refused 403 by p[0]');
    expect(say(guard(dry, { authorizers }).decide(get('/b')))).toBe('allowed: open');
    expect(decide(dry)).toBe('allowed: open');
  });
  it('refuse if the mesh does not know them', () => {
    expect(decide(ask)).toBe('refused 403 by p[0]');
    expect(decide(ask, get('/b'))).toBe('allowed: open');
  });
});

describe('scope', () => {
  const deny = (spec: object, place: { name?: string; namespace?: string } = {}) =>
    policy({ action: 'DENY', rules: [{}], ...spec }, place);
  it('is the namespace, the mesh for the root namespace, or the selected workloads', () => {
    expect(decide(deny({}))).toBe('refused 403 by p[0]');
    expect(decide(deny({}, { namespace: 'dev' }))).toBe('allowed: open');
    expect(decide(deny({}, { namespace: 'istio-system' }))).toBe('refused 403 by p[0]');
    expect(decide(deny({ selector: { matchLabels: { app: 'orders' } } }))).toBe('refused 403 by p[0]');
    expect(decide(deny({ selector: { matchLabels: { app: 'other' } } }))).toBe('allowed: open');
  });
  it('of a targetRef includes no sidecar', () => {
    expect(decide(deny({ targetRefs: [{ kind: 'Service', group: '', name: 'orders' }] }))).toBe('allowed: open');
  });
  it('counts a workload with its Deployment and its Pods once', () => {
    const pod = `---\napiVersion: v1\nkind: Pod\nmetadata: {name: orders-x, namespace: shop, labels: {app: orders, pod-template-hash: x}}\nspec: {serviceAccountName: orders}\n`;
    expect(view(ORDERS + pod).workloads).toHaveLength(1);
  });
});

describe('mutual TLS', () => {
  const peer = (spec: object, namespace = 'shop', name = 'peer') =>
    `${JSON.stringify({ apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', metadata: { name, namespace }, spec })}\n---\n`;
  const { principal: _, ...plain } = get('/a');
  it('is required if the narrowest policy sets it', () => {
    const mesh = peer({ mtls: { mode: 'STRICT' } }, 'istio-system');
    const own = { selector: { matchLabels: { app: 'orders' } } };
    expect(decide(mesh, plain)).toBe('refused by peer');
    expect(decide(mesh + peer({ mtls: { mode: 'PERMISSIVE' } }), plain)).toBe('allowed: open');
    expect(decide(mesh + peer({ ...own, mtls: { mode: 'UNSET' } }), plain)).toBe('refused by peer');
    expect(decide(mesh + peer({ ...own, portLevelMtls: { 8080: { mode: 'DISABLE' } } }), plain)).toBe('allowed: open');
    expect(decide(mesh + peer({ ...own, portLevelMtls: { 80: { mode: 'DISABLE' } } }), plain)).toBe('refused by peer');
  });
  it('has no server name on a port that disables it', () => {
    const deny = policy({ action: 'DENY', rules: [{ when: [{ key: 'connection.sni', values: ['orders.shop'] }] }] });
    const call = get('/a', { sni: 'orders.shop' });
    expect(decide(deny, call)).toBe('refused 403 by p[0]');
    expect(decide(peer({ mtls: { mode: 'DISABLE' } }) + deny, call)).toBe('allowed: open');
  });
  it('identifies no caller on a port that disables it', () => {
    const off = peer({ mtls: { mode: 'DISABLE' } });
    const allow = policy({ rules: [{ from: [{ source: { principals: ['*'] } }] }] });
    expect(decide(off + allow)).toBe('refused 403 by p');
  });
});
