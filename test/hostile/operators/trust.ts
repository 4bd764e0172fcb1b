/**
 * Access files by which an operator without the role admin would gain something, against the real broker. The control is the same file from
 * an admin.
 */
import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { type Harness, startHarness } from '../../../packages/broker/test/harness/broker.ts';
import { asOperator, type SignedIn, signIn } from '../../../packages/broker/test/harness/operators.ts';
import { playPolicyMesh } from '../../../packages/broker/test/harness/policy-mesh.ts';
import type { HostileArea, HostileInput, Outcome } from '../area.ts';

export interface TrustWorld {
  readonly harness: Harness;
  readonly operator: SignedIn;
  readonly admin: SignedIn;
}

const FILE = `trust:
  codespaces: {organization: acme}
  issuers:
    idp: {issuer: 'https://idp.example', audience: meshpass, algorithms: [ES256], signIn: {client: meshpass-operators, scopes: [groups]}}
    corp: {issuer: 'https://corp.example', audience: meshpass, signIn: {client: cli}}
  audiences: [sts.amazonaws.com]
operators:
  viewer: [{issuer: idp, claims: {groups: viewer}}]
  operator: [{issuer: idp, claims: {groups: operator}}]
  admin: [{issuer: idp, claims: {groups: admin}}, {issuer: idp, claims: {place: headquarters}}]
  serviceAccounts: [{serviceAccount: ci/reporter, roles: [viewer]}]
deny:
  - {issuer: corp, claims: {place: elsewhere}, reason: left}
approvals:
  webhooks:
    chat: {url: 'https://chat.example/x', speaksFor: idp}
grants:
  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{user: alice}]
    except: [{user_id: 5}]
    to: [{service: orders.shop, port: 8080}]
    approval:
      by: [{team: acme/leads}]
      count: 2
      emergency: {who: [{user: alice}], review: [{team: acme/auditors}]}
`;
const CLUSTER = `
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
  spec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: ci}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: minter},
  rules: [{apiGroups: [''], resources: [serviceaccounts/token], verbs: [create]}]}
`;

async function open(): Promise<TrustWorld> {
  const access = parseAccess(FILE, 'access.yaml');
  // Applied files do not take effect: each input is compared with the same file.
  const mesh = playPolicyMesh({
    read: async () => loadManifests(CLUSTER, 'cluster.yaml').resources,
    inForce: () => access,
  });
  const harness = await startHarness({ parts: () => ({ policy: { mesh, authorOf: undefined } }) });
  const { grants, trust, deny, webhooks, operators } = access;
  harness.mesh.setAccess(grants, trust.audiences, trust, deny, { webhooks: webhooks! });
  harness.mesh.setOperators(operators);
  const [operator, admin] = [await signIn(harness, 'olga', ['operator']), await signIn(harness, 'ada', ['admin'])];
  return { harness, operator, admin };
}

type As = (world: TrustWorld) => SignedIn;
const AS_OPERATOR: As = ({ operator }) => operator;
const AS_ADMIN: As = ({ admin }) => admin;
const reason = 'as asked';

async function post(world: TrustWorld, as: As, path: string, body: object) {
  const call = { method: 'POST', path, body: JSON.stringify(body) };
  let answer = await asOperator(world.harness, as(world), call);
  // The process that proves files is still starting.
  while (answer.status === 503) answer = await asOperator(world.harness, as(world), call);
  return answer;
}

/** Plans, which every job may do, and applies the plan by its id. */
async function apply(world: TrustWorld, as: As, text: string): Promise<Outcome> {
  const files = { main: 'access.yaml', files: { 'access.yaml': text } };
  const planned = await post(world, as, '/policy/plan', files);
  if (planned.status !== 200) return { accepted: false, answer: planned.text };
  const answer = await post(world, as, '/policy/apply', { ...files, plan: planned.json.id, reason });
  return { accepted: answer.status === 200, answer: `${answer.status} ${answer.text}` };
}

/** Back to that file, once an admin has applied it. */
async function rollBack(world: TrustWorld, as: As, text: string): Promise<Outcome> {
  const applied = await apply(world, AS_ADMIN, text);
  if (!applied.accepted) throw new Error(applied.answer);
  const { json } = await asOperator(world.harness, as(world), { path: '/policy/history' });
  const answer = await post(world, as, '/policy/rollback', { version: json.versions[0].version, reason });
  return { accepted: answer.status === 200, answer: `${answer.status} ${answer.text}` };
}

function edited(from: string, to: string): string {
  if (!FILE.includes(from)) throw new Error(`the file has no ${from}`);
  return FILE.replace(from, to);
}

const ME = '{issuer: idp, claims: {groups: mallory}}';
const EDITS: readonly (readonly [fault: string, from: string, to: string])[] = [
  ['an admin by a claim called place', 'place: headquarters', 'place: home'],
  ['an admin beside the others', '  admin: [', `  admin: [${ME}, `],
  ['another admin instead of one', 'groups: admin', 'groups: mallory'],
  [
    'an admin by an expression',
    '{issuer: idp, claims: {groups: admin}}',
    `{issuer: idp, when: 'subject == "idp:mallory"'}`,
  ],
  ['an admin fewer', ', {issuer: idp, claims: {place: headquarters}}', ''],
  ['a role that had no operator', '  operator: [', `  approver: [${ME}]\n  operator: [`],
  ['an officer', '  operator: [', `  security-officer: [${ME}]\n  operator: [`],
  ['nobody in a role', '  viewer: [{issuer: idp, claims: {groups: viewer}}]\n', ''],
  ['a role more for a ServiceAccount', 'roles: [viewer]', 'roles: [viewer, admin]'],
  ['another ServiceAccount', 'ci/reporter', 'ci/mallory'],
  ['longer sessions of operators', 'operators:\n', 'operators:\n  session: 12h\n'],
  ['ID tokens without a nonce', 'operators:\n', 'operators:\n  deviceFlow: true\n'],
  ['a denial that names every admin', 'deny:\n', 'deny:\n  - {issuer: idp, claims: {groups: admin}}\n'],
  ['a denial that is lifted', '  - {issuer: corp, claims: {place: elsewhere}, reason: left}\n', '  []\n'],
  ['a denial of another person, by a claim called place', 'place: elsewhere', 'place: nowhere'],
  ['a denial for another reason', 'reason: left', 'reason: stays'],
  ['an exception that is lifted', '    except: [{user_id: 5}]\n', ''],
  ['an exception more', 'except: [{user_id: 5}]', 'except: [{user_id: 5}, {user_id: 6}]'],
  ['another approver', 'by: [{team: acme/leads}]', 'by: [{user: mallory}]'],
  ['an approver more', 'by: [{team: acme/leads}]', 'by: [{team: acme/leads}, {user: mallory}]'],
  ['fewer people who approve', 'count: 2', 'count: 1'],
  ['no approval', FILE.slice(FILE.indexOf('    approval:')), ''],
  ['an approval for longer', 'count: 2', 'count: 2\n      max: 12h'],
  ['another reviewer', 'review: [{team: acme/auditors}]', 'review: [{user: mallory}]'],
  ['approvers who review', ', review: [{team: acme/auditors}]', ''],
  [
    'another person who takes it in an emergency',
    'emergency: {who: [{user: alice}], ',
    'emergency: {who: [{user: mallory}], ',
  ],
  ['another issuer', 'https://corp.example', 'https://evil.example'],
  ['another client of an issuer', 'client: cli', 'client: evil'],
  ['an issuer more', '  audiences:', "    evil: {issuer: 'https://evil.example', audience: meshpass}\n  audiences:"],
  ['an audience more', '[sts.amazonaws.com]', '[sts.amazonaws.com, evil.example]'],
  ['Codespaces of another organization', 'organization: acme', 'organization: evil'],
  ['a webhook at another address', 'https://chat.example/x', 'https://evil.example/x'],
  ['a webhook that speaks for others', 'speaksFor: idp', 'speaksFor: github'],
  ['a webhook more', '    chat:', "    evil: {url: 'https://evil.example/x', speaksFor: idp}\n    chat:"],
];

/** Grants by which their holder gains the rest: the token of a ServiceAccount that is an admin, and `prod` without its approval and exception. */
const GRANTS: readonly (readonly [fault: string, from: string, to: string])[] = [
  [
    'a grant that mints the token of a ServiceAccount',
    'grants:\n',
    'grants:\n  mint: {who: [{user: mallory}], to: [{service: orders.shop, port: 8080}], kubernetes: {roles: [minter@ci], allow: [token-requests]}}\n',
  ],
  [
    'a grant beside one that needs an approval and has an exception',
    'grants:\n',
    'grants:\n  prod2: {who: [{user_id: 5}], to: [{service: orders.shop, port: 8080}]}\n',
  ],
  ['another holder of a grant', 'dev: {who: [{user: alice}]', 'dev: {who: [{user: mallory}]'],
  ['nothing but a comment', 'grants:\n', 'grants:\n  # a comment\n'],
];

const inputs: readonly HostileInput<TrustWorld>[] = [
  ...[...EDITS, ...GRANTS].map(
    ([fault, from, to]): HostileInput<TrustWorld> => ({
      fault,
      attack: (world) => apply(world, AS_OPERATOR, edited(from, to)),
      control: (world) => apply(world, AS_ADMIN, edited(from, to)),
      code: 'operator_forbidden',
    }),
  ),
  ...[...EDITS.slice(0, 3), ...GRANTS].map(
    ([fault, from, to]): HostileInput<TrustWorld> => ({
      fault: `${fault}, by going back to an earlier file`,
      attack: (world) => rollBack(world, AS_OPERATOR, edited(from, to)),
      control: (world) => rollBack(world, AS_ADMIN, edited(from, to)),
      code: 'operator_forbidden',
    }),
  ),
];

export const changesOfTrust: HostileArea<TrustWorld> = {
  name: 'broker: access files of an operator',
  open,
  close: ({ harness }) => harness.stop(),
  inputs,
};
