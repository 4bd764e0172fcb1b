/** Describes changes to an access file in full sentences. */
import {
  type Denial,
  describeApproval,
  describeEmergencyBounds,
  describeWho,
  formatOperation,
  type Grant,
  type GrantRole,
  type GrantTarget,
  KUBERNETES_POWERS,
  type KubernetesPower,
  OPERATOR_ROLES,
  type Operation,
  type TrustedIssuer,
  type Who,
  type Window,
} from '@meshpass/access/compile';
import { formatDuration } from '@meshpass/identity';

/** A change to a single value in the access file. */
export interface ValueChange {
  readonly path: readonly string[];
  /** The path of the value, with `*` instead of the names that users chose, such as `grants.*.ttl`. */
  readonly field: string;
  readonly does: 'gains' | 'loses' | 'changes';
  readonly before: unknown;
  readonly after: unknown;
}

/** The grant that was changed, before and after the change. */
interface BothGrants {
  readonly was: Grant | undefined;
  readonly is: Grant | undefined;
}

type Sentence = (change: ValueChange, grants: BothGrants) => string;

/** Describes a change to the access file in a sentence. */
export function describeChange(change: ValueChange, grants: BothGrants): string {
  return (SENTENCES[change.field] ?? general)(change, grants);
}

/** Describes the value of a field in the access file. */
export function describeValue(field: string, value: unknown): string {
  const words = VALUES[field];
  if (words) return words(value as never);
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.map((one) => describeValue(`${field}.*`, one)).join(' or ');
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, member]) => {
      const inner = describeValue(`${field}.${name}`, member);
      return typeof member === 'object' && !Array.isArray(member) ? `${name} (${inner})` : `${name} ${inner}`;
    })
    .join(', ');
}

/** An entry that was added to a list or removed from it. */
interface Entry {
  readonly entry: string;
  readonly grant: string;
  readonly gains: 'gains' | 'loses';
  readonly now: 'now' | 'no longer';
  readonly is: Grant | undefined;
}

/** Builds a sentence for an entry that was added or removed. */
function comes(sentence: (entry: Entry) => string): Sentence {
  return (change, { is }) => {
    const { does, path, field, before, after } = change;
    if (does === 'changes') return general(change);
    const isAdded = does === 'gains';
    const entry = describeValue(field, isAdded ? after : before);
    return sentence({ entry, grant: path[1] ?? '', gains: does, now: isAdded ? 'now' : 'no longer', is });
  };
}

function may(what: string): Sentence {
  return comes(({ entry, grant, now }) => `${entry} may ${now} ${what} ${grant}`);
}

function holds(what: string): Sentence {
  return comes(({ entry, gains }) => `${entry} ${gains} ${what}`);
}

/** Describes a change to the reason of a denial that otherwise stays the same. */
function reasonChanges(denied: (grant: string) => string): Sentence {
  return ({ path, before, after }) => {
    const [was, is] = [before, after] as Denial[];
    return `${describeWho(is!)} is denied ${denied(path[1]!)} for the reason "${is!.reason ?? ''}", previously "${was!.reason ?? ''}"`;
  };
}

/**
 * The maximum length of the list of approvers in each holder's sentence, in characters. A change to `by` lists all of
 * them.
 */
const APPROVAL_ROOM = 100;

const EVERYTHING = 'every grant and every role';

const SENTENCES: Readonly<Record<string, Sentence>> = {
  'grants.*': comes(({ grant, gains }) => `grant ${grant} is ${gains === 'gains' ? 'added' : 'removed'}`),
  'grants.*.who': comes(({ entry, grant, gains, now, is }) => {
    const approval = gains === 'gains' ? is?.approval : undefined;
    const required = approval ? `, with ${describeApproval(approval, APPROVAL_ROOM)}` : '';
    return `${entry}${required} may ${now} use ${grant}`;
  }),
  'grants.*.except': comes(({ entry, grant, now }) => `${entry} is ${now} denied ${grant}`),
  'grants.*.except.*': reasonChanges((grant) => grant),
  deny: comes(({ entry, now }) => `${entry} is ${now} denied ${EVERYTHING}`),
  'deny.*': reasonChanges(() => EVERYTHING),
  'grants.*.to': comes(({ entry, grant, gains }) => `${grant} ${gains} ${entry}`),
  'grants.*.to.deny': comes(
    ({ entry, grant, now }) => `${grant} ${now} denies ${entry}${now === 'now' ? ', whatever it allows' : ''}`,
  ),
  'grants.*.kubernetes.roles': comes(({ entry, grant, gains }) => `${grant} ${gains} the Kubernetes role ${entry}`),
  'grants.*.kubernetes.allow': comes(
    ({ entry, grant, now }) => `the Kubernetes roles of ${grant} may ${now} allow ${entry}`,
  ),
  'grants.*.during': ({ path, before, after }) =>
    `${path[1]} is open ${describeValue('grants.*.during', after)}, previously ${describeValue('grants.*.during', before)}`,
  'grants.*.approval': ({ path }, { was, is }) => {
    const needed = (grant: Grant | undefined) => (grant?.approval ? describeApproval(grant.approval) : 'no approval');
    return `${path[1]} requires ${needed(is)}, previously ${needed(was)}`;
  },
  'grants.*.approval.by': may('approve'),
  'grants.*.approval.emergency': comes(({ grant, gains, now, is }) => {
    const bounds = gains === 'gains' ? `, ${describeEmergencyBounds(is!.approval!.emergency!)}` : '';
    return `${grant} may ${now} be taken in an emergency${bounds}`;
  }),
  'grants.*.approval.emergency.who': may('in an emergency take'),
  'grants.*.approval.emergency.review': may('review emergencies of'),
  ...Object.fromEntries(OPERATOR_ROLES.map((role) => [`operators.${role}`, holds(`the role ${role}`)])),
  'operators.serviceAccounts.*.roles': ({ does, path, before, after }) =>
    `ServiceAccount ${path[2]} ${does} the role ${after ?? before}`,
  'operators.session': ({ field, before, after }) =>
    `how operators sign in changes: sessions last at most ${describeValue(field, after)}, previously ${describeValue(field, before)}`,
  'operators.deviceFlow': ({ after }) =>
    `how operators sign in changes: ID tokens without a nonce are ${after ? 'accepted' : 'refused'} from now on`,
  'trust.codespaces': holds('trust'),
  'trust.audiences': ({ does, before, after }) => `every grant ${does} ID tokens for ${after ?? before}`,
  'trust.issuers.*': ({ does, path, field, before, after }) => {
    const { issuer, ...members } = (after ?? before) as TrustedIssuer;
    return `issuer ${path[2]} (${issuer}) ${does} trust: its tokens prove identities (${describeValue(field, members)})`;
  },
  'approvals.webhooks.*': ({ does, path, before, after }) => {
    const { url, speaksFor } = (after ?? before) as { readonly url: string; readonly speaksFor: string };
    return `webhook ${path[2]} (for people of ${speaksFor}, at ${url}) ${does} the right to answer approval requests`;
  },
};

/**
 * Formats a sentence for changes that do not have a more specific one, such as `dev changes: ttl 1h, previously 10m`.
 */
function general({ does, path, field, before, after }: ValueChange): string {
  const [subject, ...members] = subjectOf(path);
  const member = members.join('.');
  if (does !== 'changes') return `${subject} ${does} ${member} ${describeValue(field, after ?? before)}`;
  return `${subject} changes: ${member} ${describeValue(field, after)}, previously ${describeValue(field, before)}`;
}

/** Returns the subject of a change, followed by the path of the field that changed. */
function subjectOf([part, name, ...rest]: readonly string[]): readonly string[] {
  const [inner, ...members] = rest;
  if (part === 'grants' && inner !== undefined) return [name!, ...rest];
  if (part === 'trust' && name === 'issuers' && inner !== undefined) return [`issuer ${inner}`, ...members];
  if (part === 'trust' && name === 'codespaces') return ['Codespaces', ...rest];
  if (part === 'approvals' && name === 'webhooks' && inner !== undefined) return [`webhook ${inner}`, ...members];
  if (part === 'operators' && name === 'serviceAccounts' && inner !== undefined)
    return [`ServiceAccount ${inner}`, ...members];
  return ['the access file', ...[part, name, ...rest].filter((one) => one !== undefined)];
}

type Placeless<T> = Omit<T, 'place'>;

const people = (who: Placeless<Who>) => describeWho(who);
const seconds = (value: number | undefined) => (value === undefined ? 'nothing' : formatDuration(value));

const VALUES: Readonly<Record<string, (value: never) => string>> = {
  ...Object.fromEntries(
    [
      ...['deny', 'grants.*.who', 'grants.*.except', 'grants.*.approval.by', 'grants.*.approval.emergency.who'],
      ...['grants.*.approval.emergency.review', ...OPERATOR_ROLES.map((role) => `operators.${role}`)],
    ].map((field) => [field, people]),
  ),
  ...Object.fromEntries(
    [
      ...['grants.*.ttl', 'grants.*.session', 'grants.*.approval.for', 'grants.*.approval.max'],
      ...['grants.*.approval.emergency.for', 'grants.*.approval.emergency.within', 'operators.session'],
      ...['trust.issuers.*.signIn.confirm', 'trust.issuers.*.signIn.backdated'],
    ].map((field) => [field, seconds]),
  ),
  'trust.codespaces': ({ organization }: { readonly organization: string }) =>
    `Codespaces of the organization ${organization}`,
  'grants.*.to': calls,
  'grants.*.to.deny': calls,
  'grants.*.kubernetes.roles': ({ role, ...where }: Placeless<GrantRole>) => `${role} in ${namespaces(where)}`,
  'grants.*.kubernetes.allow': (power: KubernetesPower) => `${power} (${KUBERNETES_POWERS[power]})`,
  'grants.*.during': (windows: readonly Placeless<Window>[] | undefined) =>
    windows ? `only ${windows.map(openDuring).join(' or ')}` : 'at any time',
};

/** Describes calls in the format that plans use, such as `GET /orders/* on orders.shop:8080`. */
function calls({
  call,
  require,
  ...on
}: Placeless<Omit<GrantTarget, 'allow' | 'deny'>> & { readonly call?: Operation }) {
  const what = call ? `${formatOperation(call)}${claims(call.require)}` : 'every call';
  return `${what} on ${ports(on)}${claims(require)}`;
}

function claims(required: Readonly<Record<string, readonly string[]>> = {}): string {
  const all = Object.entries(required).map(([name, values]) => `${name} ${values.join(' or ')}`);
  return all.length > 0 ? ` (only with ${all.join(', ')})` : '';
}

function ports({
  service,
  host,
  port,
  labels,
  ...where
}: Placeless<Omit<GrantTarget, 'allow' | 'deny' | 'require'>>): string {
  if (host !== undefined) return `${host}:${port}`;
  const isOne = service !== undefined && where.namespaceLabels === undefined && !where.namespace?.includes('*');
  if (isOne && labels === undefined) return `${service}.${where.namespace}:${port}`;
  const selected = service === undefined ? 'every service' : `every service ${service}`;
  return `port ${port} of ${selected}${labels ? ` with ${pairs(labels)}` : ''} in ${namespaces(where)}`;
}

function namespaces({ namespace, namespaceLabels }: Pick<GrantRole, 'namespace' | 'namespaceLabels'>): string {
  const labelled = namespaceLabels && `every namespace with ${pairs(namespaceLabels)}`;
  if (namespace === undefined) return labelled ?? 'no namespace';
  return labelled === undefined ? namespace : `${labelled} called ${namespace}`;
}

function pairs(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');
}

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

function openDuring({ days, from, to, zone, after, before }: Placeless<Window>): string {
  const at = (minutes: number) =>
    [Math.floor(minutes / 60), minutes % 60].map((n) => String(n).padStart(2, '0')).join(':');
  const instant = (unix: number) => new Date(unix * 1000).toISOString().replace('.000Z', 'Z');
  return [
    ...(days ? [`on ${days.map((day) => DAYS[day]).join(', ')}`] : []),
    ...(from !== undefined && to !== undefined ? [`from ${at(from)} to ${at(to)}`] : []),
    ...(after === undefined ? [] : [`after ${instant(after)}`]),
    ...(before === undefined ? [] : [`before ${instant(before)}`]),
    `(${zone})`,
  ].join(' ');
}
