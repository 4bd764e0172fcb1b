/** The mesh and the people of the tests: a shop whose payments team works in Codespaces. */
import type { Attestation } from '@meshpass/identity';
import type { Mesh, MeshService } from '@meshpass/istio';
import type { IdentityTokens } from '../src/model.ts';

export const EXAMPLE = `trust:
  codespaces: {organization: acme}
  issuers:
    okta: {issuer: https://acme.okta.com, audience: meshpass}
    ci: {issuer: https://token.actions.githubusercontent.com, audience: meshpass}
  audiences: [sts.amazonaws.com]
grants:
  payments-dev:
    who:
      - {team: acme/payments, repository: acme/payments-*}
      - when: claims.email.endsWith("@acme.com") && claims.groups.exists(g, g == "sre")     # CEL
    to:
      - {service: orders.shop, port: 8080, allow: [GET /orders/*, POST /refunds]}
      - {service: ledger-db.shop, port: 5432}
    kubernetes: {roles: [view@shop]}
    ttl: 10m
    session: 8h
`;

/** A file with one grant, `dev`, for the members given. */
export function fileWith(parts: {
  readonly who?: string;
  readonly to?: string;
  readonly more?: string;
  readonly trust?: string;
}): string {
  const trust = parts.trust ?? EXAMPLE.slice(EXAMPLE.indexOf('\n') + 1, EXAMPLE.indexOf('grants:')).trimEnd();
  return [
    'trust:',
    trust,
    'grants:',
    '  dev:',
    `    who: ${parts.who ?? '[{user: alice}]'}`,
    `    to: ${parts.to ?? '[{service: orders.shop, port: 8080}]'}`,
    ...(parts.more ? [`    ${parts.more}`] : []),
    '',
  ].join('\n');
}

export const ORDERS: MeshService = {
  name: 'orders',
  namespace: 'shop',
  selector: { app: 'orders' },
  ports: [
    { port: 8080, targetPort: 8080, name: 'http', protocol: 'http' },
    { port: 9090, targetPort: 'admin', name: 'admin', protocol: 'undeclared' },
  ],
  workloads: [
    { labels: { app: 'orders', version: 'v1' }, serviceAccount: 'orders' },
    { labels: { app: 'orders', version: 'v2' }, serviceAccount: 'orders-next' },
  ],
};
export const LEDGER: MeshService = {
  name: 'ledger-db',
  namespace: 'shop',
  selector: { app: 'ledger-db' },
  ports: [{ port: 5432, targetPort: 5432, name: 'tcp-postgres', protocol: 'tcp' }],
  workloads: [{ labels: { app: 'ledger-db' }, serviceAccount: 'ledger-db' }],
};

export const MESH: Mesh = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
  services: [ORDERS, LEDGER],
  foreignPolicies: [],
};

export const TOKENS: IdentityTokens = {
  issuer: 'https://broker.acme.example',
  audience: 'acme-mesh',
  header: 'x-meshpass-token',
  jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
};

/** Conditions of rules for connections to one port of one host, in whatever subset. */
export const onPort = (port: number, host: string) => [
  { key: 'connection.sni', values: [`outbound_.${port}_.*`] },
  { key: 'connection.sni', values: [`*_.${host}`] },
];
export const ON_ORDERS = onPort(8080, 'orders.shop.svc.cluster.local');
export const ON_LEDGER = onPort(5432, 'ledger-db.shop.svc.cluster.local');
export const ORDERS_SNI = 'outbound_.8080_._.orders.shop.svc.cluster.local';
export const LEDGER_SNI = 'outbound_.5432_._.ledger-db.shop.svc.cluster.local';

/** Alice of the payments team, in a Codespace of acme/payments-api. */
export const ALICE: Attestation = {
  attestor: 'github-codespace',
  issuer: 'github',
  subject: 'github:583231',
  login: 'Alice',
  githubUser: { id: 583231, login: 'Alice' },
  teams: ['acme/payments'],
  claims: {},
  workspace: {
    kind: 'codespace',
    key: 'codespace:8412',
    name: 'fuzzy-space-train',
    repository: { id: 77, fullName: 'acme/Payments-API', ownerId: 9 },
  },
  proofHash: 'a'.repeat(64),
};

/** Bob, known to Okta only. */
export const BOB: Attestation = {
  attestor: 'oidc',
  issuer: 'okta',
  subject: 'okta:00u1',
  login: 'bob',
  teams: [],
  claims: {
    iss: 'https://acme.okta.com',
    aud: 'meshpass',
    email: 'bob@acme.com',
    email_verified: true,
    groups: ['dev', 'sre'],
    level: 3,
  },
  workspace: { kind: 'other', key: 'okta:00u1', name: 'laptop' },
  proofHash: 'b'.repeat(64),
};

/** A job of acme/payments-api that Alice started. */
export const JOB: Attestation = {
  attestor: 'oidc',
  issuer: 'ci',
  subject: 'actions:77',
  login: 'alice',
  githubUser: { id: 583231, login: 'alice' },
  teams: [],
  claims: {
    iss: 'https://token.actions.githubusercontent.com',
    aud: 'meshpass',
    repository_owner_id: '9',
    ref: 'refs/heads/main',
  },
  workspace: {
    kind: 'actions',
    key: 'actions:77:1:1',
    name: 'run 1',
    repository: { id: 77, fullName: 'acme/payments-api', ownerId: 9 },
  },
  proofHash: 'c'.repeat(64),
};
