/** Access files that must be taken: what they say, and the text. */
import { EXAMPLE, fileWith } from './shop.ts';

const to = (target: string) => fileWith({ to: `[${target}]` });
const who = (entry: string) => fileWith({ who: `[${entry}]` });

export const GOOD_FILES: readonly (readonly [string, string])[] = [
  ['the example', EXAMPLE],
  ['a contact', `contact: "#platform in Slack, or https://acme.example/mesh?a=%20"\n${EXAMPLE}`],
  ['nothing for nobody', 'trust: {}\ngrants: {}\n'],
  ['a user by id', who('{user_id: 583231}')],
  ['a team by id', who('{team: acme/payments, team_id: 31}')],
  ['a user by id and login', who('{user: alice, user_id: 583231}')],
  ['admins of an organization', who('{role: acme/admin}')],
  ['members of an organization, in capitals', who('{role: Acme/Member}')],
  ['a repository by id', who('{repository_id: 77}')],
  ['a branch', who('{repository: acme/api, ref: refs/heads/main}')],
  ['tags by pattern', who('{issuer: ci, repository: acme/api, ref: "refs/tags/v*"}')],
  ['branches below one', who('{issuer: ci, repository_id: 77, ref: "refs/heads/release/**"}')],
  ['an environment', who('{issuer: ci, repository: acme/api, environment: production eu}')],
  ['a claim', who('{issuer: okta, claims: {department: finance}}')],
  ['claims with several values', who('{issuer: okta, claims: {groups: [sre, dev], level: 3, admin: true}}')],
  ['a claim named by a URL', who('{issuer: okta, claims: {"https://acme.example/roles": ops}}')],
  ['workflows of one owner', who('{issuer: ci, claims: {repository_owner_id: "9"}}')],
  [
    'people who are denied',
    `deny:\n  - {user_id: 666013, reason: left}\n  - {team: acme/x, team_id: 5}\n  - {issuer: okta, claims: {department: contractors}}\n${EXAMPLE}`,
  ],
  ['workflows that are denied', `deny: [{issuer: ci, ref: refs/pull/**}, {repository_id: 78}]\n${EXAMPLE}`],
  ['people who still do not have a grant', fileWith({ more: 'except: [{user_id: 583232}]' })],
  ['a host', to('{host: orders.shop.svc.cluster.local, port: 8080}')],
  ['a port by name', to('{service: orders.shop, port: http-web}')],
  ['several ports', to('{service: orders.shop, ports: [8080, metrics]}')],
  ['every service of a namespace', to('{namespace: shop, port: 8080}')],
  ['namespaces by pattern', to('{namespace: preview-*, port: http}')],
  ['namespaces by label', to('{namespace_labels: {team: payments}, port: 8080}')],
  ['one service wherever it is', to('{service: orders, namespace_labels: {team: payments}, port: 8080}')],
  ['services by label', to('{namespace: shop, labels: {app.kubernetes.io/part-of: shop}, port: 8080}')],
  [
    'ephemeral and production namespaces',
    to(
      '{service: orders, namespace: preview-*, namespace_labels: {team: payments}, port: 8080}, {service: orders.shop, port: 8080, allow: [GET /orders/*]}',
    ),
  ],
  ['templates of paths', to('{service: orders.shop, port: 8080, allow: ["GET /users/{*}/orders", "* /static/{**}"]}')],
  ['a template before its end', to('{service: orders.shop, port: 8080, allow: ["GET /{*}/a/{**}/b"]}')],
  ['gRPC methods', to('{service: a.b, port: 9000, grpc: [acme.v1.Orders/Get, acme.v1.Refunds/*]}')],
  ['a method that is denied for a whole port', to('{service: a.b, port: 80, deny: [TRACE /*]}')],
  [
    'a method that is denied for all of what is allowed',
    to('{service: a.b, port: 80, allow: ["* /orders/*", "* /users/{*}"], deny: [DELETE /orders/*, "PUT /users/{*}"]}'),
  ],
  [
    'a denied path that is wider than each of what is allowed',
    to('{service: a.b, port: 80, allow: ["* /a", "* /a/{*}/b", "* /b"], deny: [DELETE /a*]}'),
  ],
  [
    'an operation with claims beside others',
    to('{service: a.b, port: 80, allow: [GET /a, GET /b/*, {operation: GET /c/*, require: {groups: sre}}]}'),
  ],
  ['a claim for a port', to('{service: a.b, port: 80, require: {department: finance}}')],
  [
    'a claim for an operation',
    to(
      '{service: a.b, port: 80, allow: [GET /*, {operation: POST /refunds, require: {department: [finance, audit]}}]}',
    ),
  ],
  [
    'working hours',
    fileWith({ more: 'during: [{days: [mon, tue, wed, thu, fri], from: "08:00", to: "18:30", zone: Europe/Berlin}]' }),
  ],
  ['nights', fileWith({ more: 'during: [{from: "22:00", to: "06:00"}, {days: [sat, sun]}]' })],
  [
    'a week of an incident',
    fileWith({ more: 'during: [{after: 2026-11-20T08:00:00Z, before: 2026-11-27T08:00:00+01:00}]' }),
  ],
  [
    'an approval',
    fileWith({
      more: 'approval: {by: [{team: acme/leads}, {user_id: 5}], count: 2, for: 30m, max: 2h, reason: optional}',
    }),
  ],
  ['an emergency with every default', fileWith({ more: 'approval: {by: {user_id: 5}, emergency: {}}' })],
  [
    'an emergency',
    fileWith({
      more: 'approval: {by: {user_id: 5}, emergency: {who: {user_id: 6}, for: 10m, review: [{team: acme/leads}], within: 48h}}',
    }),
  ],
  [
    'a role where a label is',
    fileWith({ more: 'kubernetes: {roles: [view@shop, {role: view, namespace_labels: {team: a}}]}' }),
  ],
  ['a role by pattern', fileWith({ more: 'kubernetes: {roles: [{role: edit, namespace: preview-*}]}' })],
  [
    'a client of their own for operators, and approvals',
    EXAMPLE.replace(
      'audience: meshpass}',
      'audience: meshpass, signIn: {client: a, operatorClient: b, subjectType: public}}',
    ),
  ],
];
