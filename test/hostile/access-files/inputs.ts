/** Access files and bundles of them that must not be taken. */
import type { HostileArea, HostileInput } from '../area.ts';
import {
  type AccessFileWorld,
  allow,
  bomb,
  CLAIM,
  include,
  including,
  more,
  ORDERS,
  OTHER,
  pair,
  parts,
  SHORT,
  text,
  to,
  who,
} from './bundles.ts';
import { offer } from './offer.ts';

const SYNTAX = 'access_file_syntax';
const UNKNOWN_KEY = 'access_file_unknown_key';
const UNANCHORED = 'access_file_pattern_unanchored';
const EXPRESSION = 'access_file_expression';

const INPUTS: readonly HostileInput<AccessFileWorld>[] = [
  // YAML with another meaning or a higher cost than it appears to have.
  text('aliases that double twelve times', 'grants:', `bomb:\n${bomb}grants:`, SYNTAX),
  text('an anchor', 'who: [', 'who: &people [', SYNTAX),
  text('an alias', 'user: alice', 'user: *people', SYNTAX),
  text('a merge key', '  dev:\n', '  dev:\n    <<: {who: [{user: mallory}]}\n', UNKNOWN_KEY),
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
  text('a tab for indentation', '    who:', '\twho:', SYNTAX),
  text('a NUL in a name', 'alice', '"ali\\0ce"'),
  text('a raw NUL', 'alice', 'ali\u0000ce'),
  text('a mark of byte order inside', 'alice', 'ali\ufeffce'),
  text('a second document', 'grants:', 'grants: {}\n---\ngrants:', SYNTAX),
  text('a document that ends and starts again', 'grants:', '...\n---\ngrants:', SYNTAX),
  text('a tag of JavaScript', 'alice', '!!js/function "function () { return 1 }"', SYNTAX),
  text('a tag of bytes', 'alice', '!!binary YWxpY2U=', SYNTAX),
  text('a tag of its own', '[{user: alice}]', '!everybody [{user: alice}]', SYNTAX),
  text('a key of every object', '    who:', '    __proto__: {ttl: 1h}\n    who:', UNKNOWN_KEY),
  text('a key that is a list', '    who:', '    ? [who]\n    : x\n    who:', SYNTAX),
  text('an unknown key', '    who:', '    whom: [{user: mallory}]\n    who:', UNKNOWN_KEY),
  text('an unknown section', 'grants:', 'grant: {}\ngrants:', UNKNOWN_KEY),
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
  text('a mebibyte of commas', 'grants:', `junk: [${','.repeat(900_000)}]\ngrants:`, 'access_file_invalid'),
  text('escapes that are none', 'grants:', `junk: "${'\\x'.repeat(400_000)}"\ngrants:`, 'access_file_invalid'),
  text('anchors without end', 'grants:', `junk:\n${'  - &a b\n'.repeat(40_000)}grants:`, 'access_file_invalid'),
  text('keys that are maps', 'grants:', `${'? {a: b}\n: c\n'.repeat(40_000)}grants:`, 'access_file_invalid'),

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
    UNKNOWN_KEY,
  ),
  include('an included grant of the same name', including('team.yaml', { 'team.yaml': OTHER.replace('ops', 'dev') })),

  // Who: more than one person.
  who('every repository', '{repository: acme/api}', '{repository: "*"}', UNANCHORED),
  who('every repository of everybody', '{repository: acme/*}', '{repository: "*/*"}', UNANCHORED),
  who('owners that begin alike', '{repository: acme/*}', '{repository: "acme*/api"}', UNANCHORED),
  who('nobody in particular', '{user: alice}', '{}', 'access_file_who_empty'),
  who('an untrusted issuer', CLAIM, CLAIM.replace('okta', 'evil')),
  who('a team with a letter of another alphabet', '{team: acme/payments}', '{team: аcme/payments}'),
  who('a login with a letter of no width', '{user: alice}', '{user: "ali\u200bce"}'),
  who('a login that is written backwards', '{user: alice}', '{user: "\u202eecila"}'),
  who(
    'CEL that is no expression',
    '{issuer: okta, when: claims.a == "b"}',
    '{issuer: okta, when: "claims.a ==" }',
    EXPRESSION,
  ),
  who(
    'CEL that reads what is not there',
    '{issuer: okta, when: claims.a == "b"}',
    '{issuer: okta, when: process.env.HOME != ""}',
    EXPRESSION,
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
    EXPRESSION,
  ),
  who(
    'a regular expression that repeats repetitions',
    `{issuer: okta, when: 'subject.matches("^(([a-z]{2}){2}){2}$")'}`,
    `{issuer: okta, when: 'subject.matches("^(([a-z]{99}){99}){99}$")'}`,
    EXPRESSION,
  ),
  who(
    'a regular expression of which each part may be empty',
    `{issuer: okta, when: 'subject.matches("^(x?y?){9}$")'}`,
    `{issuer: okta, when: 'subject.matches("^(${'x?'.repeat(300)}){1000}$")'}`,
    EXPRESSION,
  ),
  who(
    'a repetition whose braces are escaped',
    `{issuer: okta, when: 'subject.matches("^a\\x7b3}$")'}`,
    `{issuer: okta, when: 'subject.matches("^(a\\x7b1000}\\x7b1000})$")'}`,
    EXPRESSION,
  ),
  who(
    'regular expressions that are too much together',
    Array.from({ length: 9 }, (_, n) => `{issuer: okta, when: 'subject.matches("^${n}[a-z]{300}$")'}`).join(', '),
    Array.from({ length: 190 }, (_, n) => `{issuer: okta, when: 'subject.matches("^${n}[a-z]{300}$")'}`).join(', '),
    EXPRESSION,
  ),

  who(
    'the name before the @, which anybody can have at another domain',
    '{issuer: okta, when: claims.sub == "alice"}',
    `{issuer: okta, when: 'login == "alice"'}`,
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
    UNANCHORED,
  ),
  to(
    'hosts by wildcard',
    '{host: orders.shop.svc.cluster.local, port: 8080}',
    '{host: "*.shop.svc.cluster.local", port: 8080}',
    UNANCHORED,
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
  allow('a path as a regular expression', 'GET /orders/*', 'GET "/orders/(.*)"', UNANCHORED),
  allow('a path with dots', 'GET /orders/*', 'GET /orders/../admin'),
  allow('a path with an escape', 'GET /orders/*', '"GET /orders/%2e%2e/admin"'),
  allow('a path with a star inside', 'GET /orders/*', '"GET /*/admin"', UNANCHORED),
  allow('a method as an alternative', 'GET /orders/*', '"GET|POST /orders/*"'),
  allow('a method that no server has', 'DELETE /orders/*', 'DELTE /orders/*'),
  to(
    'a denied path that // and ;x get around',
    '{service: orders.shop, port: 8080, allow: ["* /orders/*"], deny: [DELETE /orders/*]}',
    '{service: orders.shop, port: 8080, allow: ["* /orders/*"], deny: ["* /orders/internal/{**}"]}',
  ),
  to(
    'a demanded claim that // and ;x get around',
    '{service: orders.shop, port: 8080, allow: [GET /orders/*, {operation: POST /refunds, require: {groups: sre}}]}',
    '{service: orders.shop, port: 8080, allow: [GET /orders/*, {operation: GET /orders/all, require: {groups: sre}}]}',
  ),
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
  more(
    'a role where another grant has its ServiceAccounts',
    'kubernetes: {roles: [view@shop]}',
    'kubernetes: {roles: [view@meshpass-other]}',
  ),
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
