/**
 * Access files and bundles of them that must not be taken: read from disk as `serve --access` reads them, and planned as the broker
 * plans what it is sent. An input counts as let in if either way takes it; its control must be taken both ways.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadAccess } from '@meshpass/access';
import { planChange, refuseUnsafe } from '@meshpass/analysis/plan';
import { type PolicyChanges, policyChanges } from '@meshpass/broker/policy/change';
import { Files } from '@meshpass/broker/policy/history';
import { toMeshpassError } from '@meshpass/identity';
import { loadManifests } from '@meshpass/istio';
import type { HostileArea, HostileInput, Outcome } from './area.ts';

export interface AccessFileWorld {
  readonly offer: (bundle: Bundle) => Promise<Outcome>;
}

/** Texts by path; the first is the main file. A link exists on disk alone. */
type Bundle = Readonly<Record<string, string | { readonly link: string }>>;

const SHAPE = {
  ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const JWKS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k', n: 'AQAB', e: 'AQAB' }] });
const TOKENS = { issuer: 'https://broker.example.com', audience: 'meshpass', header: 'x-meshpass-token', jwks: JWKS };
const service = (name: string, namespace: string, port = '{name: http, port: 8080}') =>
  `---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {selector: {app: ${name}}, ports: [${port}]}\n`;
const CLUSTER = loadManifests(
  [
    service('orders', 'shop'),
    service('ledger', 'shop', '{name: tcp, port: 5432}'),
    service('dns', 'kube-system'),
    service('istiod', 'istio-system'),
    service('edge', 'meshpass-system'),
    service('holder', 'meshpass-other'),
  ].join(''),
  'cluster.yaml',
).resources;

/** A file with one grant, of which each member can be said. */
function file(
  parts: Readonly<Record<'trust' | 'who' | 'to' | 'more' | 'top', string>> | Partial<Record<string, string>> = {},
) {
  const {
    who = '[{user: alice}]',
    to = '[{service: orders.shop, port: 8080}]',
    trust = '',
    more = '',
    top = '',
  } = parts;
  return [
    `trust:\n  codespaces: {organization: acme}\n  issuers:\n    okta: {issuer: "https://acme.okta.com", audience: meshpass}\n${trust}`,
    `${top}grants:\n  dev:\n    who: ${who}\n    to: ${to}\n${more}`,
  ].join('');
}

type Parts = Parameters<typeof file>[0];

/** The same file without and with a fault. */
function pair(fault: string, good: Bundle, bad: Bundle, code = 'access_file_'): HostileInput<AccessFileWorld> {
  return { fault, code, control: ({ offer }) => offer(good), attack: ({ offer }) => offer(bad) };
}
const parts = (fault: string, good: Parts, bad: Parts, code?: string) =>
  pair(fault, { 'access.yaml': file(good) }, { 'access.yaml': file(bad) }, code);
const text = (fault: string, from: string, to: string, whole = file(), code?: string) => {
  if (!whole.includes(from)) throw new Error(`${fault}: ${from} is not in the file`);
  return pair(fault, { 'access.yaml': whole }, { 'access.yaml': whole.replace(from, () => to) }, code);
};
const to = (fault: string, good: string, bad: string, code?: string) =>
  parts(fault, { to: `[${good}]` }, { to: `[${bad}]` }, code);
const who = (fault: string, good: string, bad: string, code?: string) =>
  parts(fault, { who: `[${good}]` }, { who: `[${bad}]` }, code);
const allow = (fault: string, good: string, bad: string) =>
  to(
    fault,
    `{service: orders.shop, port: 8080, allow: [${good}]}`,
    `{service: orders.shop, port: 8080, allow: [${bad}]}`,
  );
const more = (fault: string, good: string, bad: string, code?: string) =>
  parts(fault, { more: `    ${good}\n` }, { more: `    ${bad}\n` }, code);

/** A file that includes another. */
const including = (path: string, others: Bundle = {}): Bundle => ({
  'access.yaml': `include: [${JSON.stringify(path)}]\n${file()}`,
  ...others,
});
const OTHER = 'grants:\n  ops:\n    who: [{user: bob}]\n    to: [{service: ledger.shop, port: 5432}]\n';
const INCLUDED = including('team.yaml', { 'team.yaml': OTHER });
const include = (fault: string, bad: Bundle) => pair(fault, INCLUDED, bad);

const ORDERS = '{service: orders.shop, port: 8080}';
const CLAIM = '{issuer: okta, claims: {group: [sre]}}';
const bomb = Array.from({ length: 12 }, (_, level) =>
  level === 0 ? '  a0: &a0 [x, x]\n' : `  a${level}: &a${level} [*a${level - 1}, *a${level - 1}]\n`,
).join('');
const SHORT = file();

const INPUTS: readonly HostileInput<AccessFileWorld>[] = [
  // YAML that means another thing than it looks like, or costs more.
  text('aliases that double twelve times', 'grants:', `bomb:\n${bomb}grants:`),
  text('an anchor', 'who: [', 'who: &people ['),
  text('an alias', 'user: alice', 'user: *people'),
  text('a merge key', '  dev:\n', '  dev:\n    <<: {who: [{user: mallory}]}\n'),
  text(
    'a grant that stands twice',
    'grants:\n',
    'grants:\n  dev:\n    who: [{user: mallory}]\n    to: [{service: ledger.shop, port: 5432}]\n',
  ),
  text(
    'a grant that stands twice, once in quotes',
    'grants:\n',
    'grants:\n  "dev": {who: [{user: mallory}], to: [{service: ledger.shop, port: 5432}]}\n',
  ),
  text('a member that stands twice', '    who:', '    who: [{user: mallory}]\n    who:'),
  text('a tab for indentation', '    who:', '\twho:'),
  text('a NUL in a name', 'alice', '"ali\\0ce"'),
  text('a raw NUL', 'alice', 'ali\u0000ce'),
  text('a mark of byte order inside', 'alice', 'ali\ufeffce'),
  text('a second document', 'grants:', 'grants: {}\n---\ngrants:'),
  text('a document that is ended and begun anew', 'grants:', '...\n---\ngrants:'),
  text('a tag of JavaScript', 'alice', '!!js/function "function () { return 1 }"'),
  text('a tag of bytes', 'alice', '!!binary YWxpY2U='),
  text('a tag of its own', '[{user: alice}]', '!everybody [{user: alice}]'),
  text('a key of every object', '    who:', '    __proto__: {ttl: 1h}\n    who:'),
  text('a key that is a list', '    who:', '    ? [who]\n    : x\n    who:'),
  text('an unknown key', '    who:', '    whom: [{user: mallory}]\n    who:', SHORT, 'access_file_unknown_key'),
  text('an unknown section', 'grants:', 'grant: {}\ngrants:', SHORT, 'access_file_unknown_key'),
  pair(
    'more than a mebibyte',
    { 'access.yaml': `#${'x'.repeat(1000)}\n${SHORT}` },
    { 'access.yaml': `#${'x'.repeat(1024 * 1024)}\n${SHORT}` },
  ),
  who(
    'nesting without end',
    '{issuer: okta, claims: {group: [sre]}}',
    `{issuer: okta, claims: {group: ${'['.repeat(5_000)}sre${']'.repeat(5_000)}}}`,
  ),
  who(
    'fifty thousand values',
    CLAIM,
    `{issuer: okta, claims: {group: [${Array.from({ length: 50_001 }, (_, n) => `g${n}`).join(',')}]}}`,
  ),

  // Includes that lead out.
  include('an include of the directory above', including('../team.yaml', { 'team.yaml': OTHER })),
  include('an include that goes in and out', including('a/../../team.yaml', { 'team.yaml': OTHER })),
  include('an include by an absolute path', including('/etc/team.yaml')),
  include('an include on another drive', including('C:team.yaml', { 'C:team.yaml': OTHER })),
  include('an include with backslashes', including('..\\team.yaml', { '..\\team.yaml': OTHER })),
  include('an include of a link that leads out', including('team.yaml', { 'team.yaml': { link: '../outside.yaml' } })),
  include('an include through a directory that is a link', including('dir/outside.yaml', { dir: { link: '..' } })),
  include('an include of what is no YAML by its name', including('environ', { environ: OTHER })),
  include('an include by pattern', including('*.yaml', { 'team.yaml': OTHER })),
  include('an include with a control character', including('team\u0007.yaml', { 'team\u0007.yaml': OTHER })),
  include('an include of itself', including('access.yaml')),
  include('an include in a circle', including('team.yaml', { 'team.yaml': `include: [access.yaml]\n${OTHER}` })),
  include(
    'an included file that says whom to trust',
    including('team.yaml', { 'team.yaml': `trust: {codespaces: {organization: evil}}\n${OTHER}` }),
  ),
  include('an included grant of the same name', including('team.yaml', { 'team.yaml': OTHER.replace('ops', 'dev') })),

  // Who: more than somebody.
  who('every repository', '{repository: acme/api}', '{repository: "*"}'),
  who('every repository of everybody', '{repository: acme/*}', '{repository: "*/*"}'),
  who('owners that begin alike', '{repository: acme/*}', '{repository: "acme*/api"}'),
  who('nobody in particular', '{user: alice}', '{}', 'access_file_who_empty'),
  who('an issuer that nobody trusts', CLAIM, CLAIM.replace('okta', 'evil')),
  who('a team with a letter of another alphabet', '{team: acme/payments}', '{team: аcme/payments}'),
  who('a login with a letter of no width', '{user: alice}', '{user: "ali\u200bce"}'),
  who('a login that is written backwards', '{user: alice}', '{user: "\u202eecila"}'),
  who(
    'CEL that is no expression',
    '{issuer: okta, when: claims.a == "b"}',
    '{issuer: okta, when: "claims.a ==" }',
    'access_file_expression',
  ),
  who(
    'CEL that reads what is not there',
    '{issuer: okta, when: claims.a == "b"}',
    '{issuer: okta, when: process.env.HOME != ""}',
    'access_file_expression',
  ),
  who(
    'CEL that is longer than anybody writes',
    '{issuer: okta, when: claims.a == "b"}',
    `{issuer: okta, when: '${Array.from({ length: 5_000 }, () => 'claims.a == "b"').join(' || ')}'}`,
  ),
  who(
    'CEL that is nested without end',
    '{issuer: okta, when: claims.a == "b"}',
    `{issuer: okta, when: '${'('.repeat(2_000)}true${')'.repeat(2_000)}'}`,
  ),

  // To: more than something.
  to('the services of Kubernetes', ORDERS, '{service: dns.kube-system, port: 8080}', 'plan_refused'),
  to('the services of the mesh', ORDERS, '{service: istiod.istio-system, port: 8080}'),
  to('the services of Meshpass', ORDERS, '{service: edge.meshpass-system, port: 8080}'),
  to('a namespace of another grant', ORDERS, '{service: holder.meshpass-other, port: 8080}'),
  to(
    'every namespace',
    '{namespace: shop, service: orders, port: 8080}',
    '{namespace: "*", service: orders, port: 8080}',
  ),
  to(
    'hosts by wildcard',
    '{host: orders.shop.svc.cluster.local, port: 8080}',
    '{host: "*.shop.svc.cluster.local", port: 8080}',
  ),
  to(
    'a host of the internet',
    '{host: orders.shop.svc.cluster.local, port: 8080}',
    '{host: metadata.google.internal, port: 8080}',
  ),
  to(
    'an address for a host',
    '{host: orders.shop.svc.cluster.local, port: 8080}',
    '{host: 169.254.169.254, port: 8080}',
  ),
  to('a service with a letter of another alphabet', ORDERS, '{service: оrders.shop, port: 8080}'),
  to('port 0', ORDERS, '{service: orders.shop, port: 0}'),
  to('port 65536', ORDERS, '{service: orders.shop, port: 65536}'),
  to('a port that is no whole number', ORDERS, '{service: orders.shop, port: 8080.5}'),
  to('a port below nothing', ORDERS, '{service: orders.shop, port: -8080}'),
  to('a port that the service does not have', ORDERS, '{service: orders.shop, port: 15012}', 'access_port_unknown'),
  allow('a path as a regular expression', 'GET /orders/*', 'GET "/orders/(.*)"'),
  allow('a path with dots', 'GET /orders/*', 'GET /orders/../admin'),
  allow('a path with an escape', 'GET /orders/*', '"GET /orders/%2e%2e/admin"'),
  allow('a path with a star inside', 'GET /orders/*', '"GET /*/admin"'),
  allow('a method as an alternative', 'GET /orders/*', '"GET|POST /orders/*"'),
  allow('a line break in a path', 'GET /orders/*', '"GET /orders/\\nx"'),

  // How long, and what else.
  more('certificates for years', 'ttl: 10m', 'ttl: 9999h'),
  more('certificates for no time', 'ttl: 10m', 'ttl: 0s'),
  more('sessions for a month', 'session: 8h', 'session: 720h'),
  more('a duration below nothing', 'session: 8h', 'session: -8h'),
  more('a duration that is a number', 'ttl: 10m', 'ttl: 1e9'),
  more(
    'the role of the whole cluster',
    'kubernetes: {roles: [view@shop]}',
    'kubernetes: {roles: [system:masters@shop]}',
  ),
  more('a role without a namespace', 'kubernetes: {roles: [view@shop]}', 'kubernetes: {roles: [cluster-admin]}'),
  more('a role where Kubernetes runs', 'kubernetes: {roles: [view@shop]}', 'kubernetes: {roles: [view@kube-system]}'),
  more('a role in the mesh', 'kubernetes: {roles: [view@shop]}', 'kubernetes: {roles: [view@istio-system]}'),
  parts('a deny list of which nothing is left', { top: 'deny: [{user_id: 13}]\n' }, { top: 'deny:\n' }),
  parts(
    'a denial by a name that its holder can change',
    { top: 'deny: [{user_id: 13}]\n' },
    { top: 'deny: [{user: mallory}]\n' },
  ),
  parts(
    'a reason with a control character',
    { top: 'deny: [{user_id: 13, reason: "left"}]\n' },
    { top: 'deny: [{user_id: 13, reason: "left\\u001b[2J"}]\n' },
  ),
  text('a grant with the name of a namespace of ours', '  dev:', '  system:'),
  text('a name that leads out of its place', '  dev:', '  ../dev:'),
];

export const accessFiles: HostileArea<AccessFileWorld> = {
  name: 'access files and bundles',
  open: async () => ({ offer }),
  close: async () => {},
  inputs: INPUTS,
};

async function offer(bundle: Bundle): Promise<Outcome> {
  const answers = [await attempt(() => fromDisk(bundle))];
  // What is sent to a broker has no links.
  if (!Object.values(bundle).some((one) => typeof one !== 'string'))
    answers.push(await attempt(() => toBroker(bundle)));
  const refused = answers.filter(({ accepted }) => !accepted);
  // A control is taken by both, and whatever either takes was let in: they must agree.
  if (refused.length > 0 && refused.length < answers.length)
    return { accepted: true, answer: `one of two takes it: ${answers.map(({ answer }) => answer).join(' | ')}` };
  return answers.find(({ accepted }) => !accepted) ?? answers[0]!;
}

async function attempt(how: () => Promise<string>): Promise<Outcome> {
  try {
    return { accepted: true, answer: await how() };
  } catch (thrown) {
    const { code, message } = toMeshpassError(thrown, 'internal', String(thrown));
    return { accepted: false, answer: `${code}: ${message.slice(0, 300)}` };
  }
}

/** Read as the broker reads its file, and planned. */
async function fromDisk(bundle: Bundle): Promise<string> {
  const above = mkdtempSync(join(tmpdir(), 'meshpass-hostile-'));
  const directory = join(above, 'files');
  try {
    mkdirSync(directory);
    writeFileSync(join(above, 'outside.yaml'), OTHER);
    for (const [path, content] of Object.entries(bundle)) {
      const at = join(directory, path);
      mkdirSync(dirname(at), { recursive: true });
      if (typeof content === 'string') writeFileSync(at, content);
      else symlinkSync(content.link, at);
    }
    const { access } = loadAccess(join(directory, Object.keys(bundle)[0]!));
    const plan = planChange({ access, cluster: CLUSTER, shape: SHAPE, tokens: TOKENS });
    refuseUnsafe(plan);
    return plan.id;
  } finally {
    rmSync(above, { recursive: true });
  }
}

/** Sent as a bundle: checked as the API checks it, and planned as the broker plans it. */
async function toBroker(bundle: Bundle): Promise<string> {
  const files = Files.parse(bundle);
  const plan = await changes().plan({ main: Object.keys(bundle)[0]!, files });
  refuseUnsafe(plan);
  return plan.id;
}

function changes(): Pick<PolicyChanges, 'plan'> {
  const unreached = () => {
    throw new Error('a plan does not come here');
  };
  const mesh = {
    ...{ read: async () => CLUSTER, shape: SHAPE, tokens: () => TOKENS, inForce: () => undefined },
    ...{ take: unreached, onChange: unreached, drift: unreached, resume: unreached },
  };
  const audit = { journal: { write: unreached, flush: unreached }, clock: Date.now, observe: unreached };
  return policyChanges(mesh, { db: undefined as never }, audit);
}
