/** Changes every key in the schema of the access file in turn, and checks that the plan shows the change. */
import { accessJsonSchema, includedJsonSchema, parseAccess } from '@meshpass/access';
import type { Access } from '@meshpass/access/compile';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { accessChanges } from '../../src/plan/access-changes.ts';
import { formatPlan } from '../../src/plan/format.ts';
import { planChange } from '../../src/plan/plan.ts';

type Json = Record<string, unknown>;

const sre = { issuer: 'okta', claims: { groups: 'sre' } };
const ROLES = ['viewer', 'approver', 'operator', 'security-officer', 'admin'];
const SIGN_IN = {
  client: 'cli',
  operatorClient: 'ops',
  subjectType: 'public',
  scopes: ['groups'],
  refresh: true,
  consent: true,
  backdated: '5m',
  confirm: '60s',
  nonce: 'optional',
};
const BASE = {
  contact: '#platform in Slack',
  trust: {
    codespaces: { organization: 'acme' },
    issuers: {
      okta: { issuer: 'https://acme.okta.com', audience: 'meshpass', algorithms: ['RS256'], signIn: SIGN_IN },
      ci: { issuer: 'https://ci.example.com', audience: 'meshpass', kind: 'actions' },
    },
    audiences: ['sts.amazonaws.com'],
  },
  operators: {
    ...Object.fromEntries(ROLES.map((role) => [role, [sre]])),
    serviceAccounts: [{ serviceAccount: 'ci/reporter', roles: ['viewer'] }],
    session: '1h',
    deviceFlow: false,
  },
  deny: [{ user_id: 4, reason: 'left' }],
  approvals: { webhooks: { chat: { url: 'https://chat.example/x', speaksFor: 'github' } } },
  grants: {
    dev: {
      who: [{ user: 'alice' }],
      except: [{ user_id: 5, reason: 'left' }],
      to: [{ service: 'orders.shop', port: 8080 }],
      kubernetes: { roles: ['view@shop'], allow: ['exec'] },
      ttl: '10m',
      session: '8h',
      during: [
        {
          days: ['mon'],
          from: '09:00',
          to: '17:00',
          zone: 'Europe/Berlin',
          after: '2026-01-01T00:00:00Z',
          before: '2027-01-01T00:00:00Z',
        },
      ],
      approval: {
        by: [{ user_id: 6 }],
        for: '1h',
        max: '2h',
        reason: 'required',
        count: 1,
        emergency: { who: [{ user_id: 7 }], for: '30m', review: [{ user_id: 8 }], within: '24h' },
      },
    },
  },
};

/** Keys in BASE that wildcards of a schema path refer to. */
const NAMES: Readonly<Record<string, string>> = {
  'trust.issuers': 'okta',
  'approvals.webhooks': 'chat',
  grants: 'dev',
};

/** Another value for each key; for a key that belongs to a group, the whole group. */
const VALUES: Readonly<Record<string, unknown>> = {
  contact: 'platform@acme.example',
  'trust.codespaces.organization': 'other',
  'trust.issuers.*.issuer': 'https://evil.example.com',
  'trust.issuers.*.audience': 'another',
  'trust.issuers.*.algorithms[]': ['ES256'],
  'trust.issuers.*.signIn.client': 'another',
  'trust.issuers.*.signIn.operatorClient': 'another',
  'trust.issuers.*.signIn.subjectType': 'pairwise',
  'trust.issuers.*.signIn.scopes[]': ['email'],
  'trust.issuers.*.signIn.refresh': false,
  'trust.issuers.*.signIn.consent': false,
  'trust.issuers.*.signIn.backdated': '1m',
  'trust.issuers.*.signIn.confirm': '1h',
  'trust.issuers.*.signIn.nonce': 'required',
  'trust.audiences[]': ['another'],
  'operators.serviceAccounts[].serviceAccount': [{ serviceAccount: 'ci/other', roles: ['viewer'] }],
  'operators.serviceAccounts[].roles[]': [{ serviceAccount: 'ci/reporter', roles: ['admin'] }],
  'operators.session': '12h',
  'operators.deviceFlow': true,
  'approvals.webhooks.*.url': 'https://evil.example/x',
  'approvals.webhooks.*.speaksFor': 'okta',
  'grants.*.kubernetes.roles[]': ['edit@shop'],
  'grants.*.kubernetes.roles[].role': [{ role: 'edit', namespace: 'shop' }],
  'grants.*.kubernetes.roles[].namespace': [{ role: 'view', namespace: 'preview-*' }],
  'grants.*.kubernetes.roles[].namespace_labels.*': [{ role: 'view', namespace_labels: { env: 'dev' } }],
  'grants.*.kubernetes.allow[]': ['secrets'],
  'grants.*.ttl': '1h',
  'grants.*.session': '12h',
  'grants.*.approval.for': '2h',
  'grants.*.approval.max': '12h',
  'grants.*.approval.reason': 'optional',
  'grants.*.approval.count': 2,
  'grants.*.approval.emergency.for': '4h',
  'grants.*.approval.emergency.within': '168h',
};

/** Additional members of an entry of `to`. */
const TARGETS: Readonly<Record<string, Json>> = {
  service: { service: 'ledger.shop' },
  host: { service: undefined, host: 'orders.shop.svc.cluster.local' },
  namespace: { service: 'orders', namespace: 'preview-*' },
  'namespace_labels.*': { service: 'orders', namespace_labels: { env: 'dev' } },
  'labels.*': { service: 'orders', namespace: 'shop', labels: { app: 'orders' } },
  port: { port: 9090 },
  'ports[]': { port: undefined, ports: [8080, 9090] },
  'allow[]': { allow: ['GET /orders'] },
  'allow[].operation': { allow: [{ operation: 'GET /orders', require: { group: 'sre' } }] },
  'allow[].require.*': { allow: [{ operation: 'GET /orders', require: { group: 'sre' } }] },
  'allow[].require.*[]': { allow: [{ operation: 'GET /orders', require: { group: ['sre', 'dev'] } }] },
  'grpc[]': { grpc: ['acme.Orders/Get'] },
  'deny[]': { deny: ['GET /*'] },
  'require.*': { require: { group: 'sre' } },
  'require.*[]': { require: { group: ['sre', 'dev'] } },
};

const WINDOWS: Readonly<Record<string, unknown>> = {
  'days[]': ['tue'],
  from: '08:00',
  to: '18:00',
  zone: 'UTC',
  after: '2026-02-01T00:00:00Z',
  before: '2027-02-01T00:00:00Z',
};

/** Pairs of entries that differ in one member. */
const PEOPLE: Readonly<Record<string, readonly [Json, Json]>> = {
  user: [{ user: 'ann' }, { user: 'bob' }],
  user_id: [{ user_id: 20 }, { user_id: 21 }],
  team: [
    { team: 'acme/a', team_id: 7 },
    { team: 'acme/b', team_id: 7 },
  ],
  team_id: [
    { team: 'acme/a', team_id: 7 },
    { team: 'acme/a', team_id: 8 },
  ],
  role: [{ role: 'acme/admin' }, { role: 'acme/member' }],
  repository: [{ repository: 'acme/a' }, { repository: 'acme/b' }],
  repository_id: [{ repository_id: 7 }, { repository_id: 8 }],
  ref: [
    { issuer: 'ci', repository_id: 7, ref: 'refs/heads/a' },
    { issuer: 'ci', repository_id: 7, ref: 'refs/heads/b' },
  ],
  environment: [
    { issuer: 'ci', repository_id: 7, environment: 'a' },
    { issuer: 'ci', repository_id: 7, environment: 'b' },
  ],
  issuer: [
    { issuer: 'okta', claims: { sub: 'x' } },
    { issuer: 'ci', claims: { repository: 'x' } },
  ],
  'claims.*': [
    { issuer: 'okta', claims: { place: 'a' } },
    { issuer: 'okta', claims: { place: 'b' } },
  ],
  'claims.*[]': [
    { issuer: 'okta', claims: { place: ['a'] } },
    { issuer: 'okta', claims: { place: ['a', 'b'] } },
  ],
  when: [
    { issuer: 'okta', when: 'claims.a == "b"' },
    { issuer: 'okta', when: 'claims.a == "c"' },
  ],
  reason: [
    { user_id: 20, reason: 'a' },
    { user_id: 20, reason: 'b' },
  ],
  ...Object.fromEntries(
    (
      [
        ['issuer', {}, { issuer: 'corp' }],
        ['claims.*', { claims: { place: 'a' } }, { claims: { place: 'b' } }],
        ['claims.*[]', { claims: { place: ['a'] } }, { claims: { place: ['a', 'b'] } }],
        ['when', { when: 'claims.a == "b"' }, { when: 'claims.a == "c"' }],
        ['maxAge', { maxAge: '1m' }, { maxAge: '2m' }],
        ['amr[]', { amr: ['mfa'] }, { amr: ['pwd'] }],
      ] as const
    ).map(([member, one, other]) => {
      const signedIn = (more: Json) => ({ user_id: 20, signedIn: { issuer: 'okta', ...more } });
      return [`signedIn.${member}`, [signedIn(one), signedIn(other)] as const];
    }),
  ),
};

/** Lists of `who` entries, with the description of an added entry. */
const LISTS: Readonly<Record<string, RegExp>> = {
  'grants.*.who[]': / may now use dev$/,
  'grants.*.except[]': / is now denied dev$/,
  'grants.*.approval.by': / may now approve dev$/,
  'grants.*.approval.emergency.who': / may now in an emergency take dev$/,
  'grants.*.approval.emergency.review': / may now review emergencies of dev$/,
  'deny[]': / is now denied every grant and every role$/,
  ...Object.fromEntries(ROLES.map((role) => [`operators.${role}[]`, new RegExp(` gains the role ${role}$`)])),
};

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly type?: string;
}

/** `grants.*.to[].allow[]`: every value that the schema allows. */
function leaves(schema: Schema, path = ''): readonly string[] {
  const below = (name: string) => (path === '' ? name : `${path}.${name}`);
  const inner = [
    ...Object.entries(schema.properties ?? {}).flatMap(([name, one]) => leaves(one, below(name))),
    ...(typeof schema.additionalProperties === 'object' ? leaves(schema.additionalProperties, below('*')) : []),
    ...(schema.items ? leaves(schema.items, `${path}[]`) : []),
    // Alternatives of required keys describe no values.
    ...(schema.anyOf ?? []).filter((one) => one.type ?? one.anyOf).flatMap((one) => leaves(one, path)),
  ];
  return [...new Set(inner.length > 0 ? inner : [path])];
}

const copy = () => structuredClone(BASE) as unknown as Json;

function put(path: string, value: unknown): Json {
  const document = copy();
  const keys = path.replace(/\[\].*$/, '').split('.');
  let at: Json = document;
  let so = '';
  keys.forEach((key, index) => {
    const name = key === '*' ? NAMES[so]! : key;
    so = so === '' ? key : `${so}.${key}`;
    if (index === keys.length - 1) at[name] = value;
    else at = at[name] as Json;
  });
  return document;
}

const TEAM = { grants: { team: { who: [{ user: 'eve' }], to: [{ service: 'orders.shop', port: 8080 }] } } };
const parsed = new Map<string, Access>();
const read = (document: Json): Access => {
  const text = JSON.stringify(document);
  const access =
    parsed.get(text) ?? parseAccess(text, 'access.yaml', { include: () => ({ text: JSON.stringify(TEAM) }) });
  parsed.set(text, access);
  return access;
};

/** Returns both files of an edit. Entries of people are changed in their list. */
function edit(path: string): readonly [before: Json, after: Json, line?: RegExp] {
  const list = Object.keys(LISTS).find((one) => path.startsWith(one));
  if (list !== undefined) {
    const member = path.slice(list.length).replace(/^\[\]/, '').replace(/^\./, '');
    const [one, other] = PEOPLE[member]!;
    const document = (entry: Json) => {
      const edited = put(list, [entry]) as typeof BASE;
      const corp = { issuer: 'https://corp.example.com', audience: 'meshpass', signIn: { client: 'cli' } };
      Object.assign(edited.trust.issuers, { corp });
      return edited as unknown as Json;
    };
    return [document(one), document(other), member === 'reason' ? / for the reason "b", previously "a"$/ : LISTS[list]];
  }
  if (path.startsWith('grants.*.to[].')) {
    const [target] = BASE.grants.dev.to;
    const more = TARGETS[path.slice('grants.*.to[].'.length)];
    const line = path === 'grants.*.to[].deny[]' ? /^dev now denies / : /^dev gains /;
    return [put('grants.*.to', [target]), put('grants.*.to', [{ ...target, ...more! }]), line];
  }
  if (path.startsWith('grants.*.during[].')) {
    const member = path.slice('grants.*.during[].'.length);
    const [window] = BASE.grants.dev.during;
    const other = { ...window, [member.replace('[]', '')]: WINDOWS[member] };
    return [copy(), put('grants.*.during', [other]), /^dev is open only .+, previously only /];
  }
  if (path === 'include[]') return [copy(), { ...copy(), include: ['team.yaml'] }, /^grant team is added$/];
  if (path === 'trust.issuers.*.kind') {
    const document = copy() as typeof BASE;
    document.trust.issuers.ci.kind = 'generic';
    return [copy(), document, /^issuer ci changes: kind generic, previously actions$/];
  }
  return [copy(), put(path, VALUES[path])];
}

const PATHS = leaves(accessJsonSchema() as Schema);

const cluster = loadManifests(
  '{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}}',
  'cluster.yaml',
).resources;
const unchanged = planChange({
  access: parseAccess(JSON.stringify({ trust: {}, grants: {} }), 'access.yaml'),
  inForce: parseAccess(JSON.stringify({ trust: {}, grants: {} }), 'access.yaml'),
  cluster,
  shape: {
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    clusterDomain: 'cluster.local',
    gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
  },
  tokens: {
    issuer: 'https://broker.test',
    audience: 'mesh',
    header: 'x-meshpass-token',
    jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
  },
});

/** Whether a list rejects a member, because its users could change it or the issuer does not attest it. */
const refusedIn = (path: string): boolean => {
  try {
    const [before, after] = edit(path);
    return read(before) === read(after);
  } catch {
    return true;
  }
};

const REFUSED = new Set(PATHS.filter(refusedIn));
const SHOWN = PATHS.filter((path) => !REFUSED.has(path));

describe('a change of', () => {
  it.each(SHOWN)('%s is shown everywhere', (path) => {
    const [before, after, line] = edit(path);
    for (const [from, to] of [
      [before, after],
      [after, before],
    ] as const) {
      const changes = accessChanges(read(from), read(to));
      expect(changes).not.toEqual([]);
      for (const { says, before: was, after: is } of changes) {
        expect(was).not.toBe(is);
        const plan = { ...unchanged, changes };
        expect(formatPlan(plan, 'text').split('\n')).toContain(`  ${says}`);
        expect(formatPlan(plan, 'markdown').split('\n')).toContain(`- \`${says.replaceAll('`', "'")}\``);
      }
    }
    const lines = accessChanges(read(before), read(after)).map(({ says }) => says);
    if (line) expect(lines).toContainEqual(expect.stringMatching(line));
  });
});

it('leaves out only keys that are refused in the list in which they stand', () => {
  for (const path of REFUSED) expect(Object.keys(LISTS).some((list) => path.startsWith(list))).toBe(true);
  // Each member is shown in at least one list.
  for (const member of Object.keys(PEOPLE)) expect(SHOWN.some((path) => path.endsWith(`.${member}`))).toBe(true);
});

it('finds nothing in an included file but what is part of the first one', () => {
  expect(Object.keys((includedJsonSchema() as Schema).properties ?? {})).toEqual(['include', 'grants']);
});
