/**
 * Compares two access files, and lists everything that the second one grants or revokes. Unknown fields are compared
 * like all others and reported by name.
 */
import type { Access, Approval, Grant, GrantTarget, Operators, Who } from '@meshpass/access/compile';
import { plainText } from '@meshpass/identity';
import { canonicalJson } from '../canonical-json.ts';
import { describeChange, describeValue, type ValueChange } from './change-words.ts';

export interface AccessChange {
  /**
   * The path in the file, such as `grants.dev.ttl` or `operators.admin`. All entries of a list share the path of the
   * list.
   */
  readonly path: string;
  /** Whether an entry or a field was added, removed or changed. */
  readonly does: 'gains' | 'loses' | 'changes';
  /** A description of the previous value. Undefined if there was no previous value. */
  readonly before?: string;
  readonly after?: string;
  /** Whether the change permits more, requires less, or has an effect that is not known. */
  readonly wider: boolean;
  /** A sentence that describes the change. */
  readonly says: string;
}

/** Fields that restrict access, so removing one of them permits more. */
const NARROWS: ReadonlySet<string> = new Set([
  ...['deny', 'grants.*.except', 'grants.*.to.deny', 'grants.*.during', 'grants.*.approval'],
]);

/** Numeric fields where a smaller value permits more. */
const LESS_IS_WIDER: ReadonlySet<string> = new Set(['grants.*.approval.count', 'trust.issuers.*.signIn.backdated']);

/** Fields that have no effect on access. */
const NEUTRAL: ReadonlySet<string> = new Set(['contact']);

/** Fields whose keys are names that users choose. */
const NAMED: ReadonlySet<string> = new Set([
  ...['grants', 'trust.issuers', 'operators.serviceAccounts', 'approvals.webhooks'],
]);

/**
 * Objects that are described field by field when they are added or removed. All other objects are described as a whole.
 */
const OPENED: ReadonlySet<string> = new Set(['grants.*', 'grants.*.approval', 'grants.*.approval.emergency']);
/** Objects that do not mean anything on their own, so only their fields are described. */
const CONTAINERS: ReadonlySet<string> = new Set(['grants.*.kubernetes', 'operators.serviceAccounts.*']);

/** Lists whose entries are the same if only their reasons differ, because a reason merely describes a denial. */
const REASONED: ReadonlySet<string> = new Set(['deny', 'grants.*.except']);

/** Lists for which it makes a difference whether they are missing or empty. */
const WHOLE: ReadonlySet<string> = new Set(['grants.*.during']);

/** An empty access file, which serves as the previous version when the first access file is added. */
export const NO_ACCESS: Access = { file: '', trust: { issuers: [], audiences: [] }, grants: [] };

/**
 * Lists everything that `after` grants and revokes. Changes that widen access come first.
 * @param before the access file before the change, or NO_ACCESS if there was none
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { accessChanges } from '@meshpass/analysis/plan';
 * const file = (ttl: string) => parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], ttl: ${ttl}}`, 'access.yaml');
 * accessChanges(file('10m'), file('1h')).map(({ says }) => says); // => ['dev changes: ttl 1h, previously 10m']
 * ```
 */
export function accessChanges(before: Access, after: Access): readonly AccessChange[] {
  const was = new Map(before.grants.map((grant) => [grant.name, grant]));
  const is = new Map(after.grants.map((grant) => [grant.name, grant]));
  const changes = [...differences([], comparableAccess(before), comparableAccess(after))].map((one): AccessChange => {
    const [, name = ''] = one.path;
    const told = {
      ...(one.before !== undefined && { before: plainText(describeValue(one.field, one.before)) }),
      ...(one.after !== undefined && { after: plainText(describeValue(one.field, one.after)) }),
    };
    const says = plainText(describeChange(one, { was: was.get(name), is: is.get(name) }));
    return { path: one.path.join('.'), does: one.does, ...told, wider: isWider(one), says };
  });
  return changes.toSorted((a, b) => Number(b.wider) - Number(a.wider));
}

function* differences(path: readonly string[], before: unknown, after: unknown): Generator<ValueChange> {
  const field = fieldOf(path);
  if ([before, after].some(Array.isArray) && !WHOLE.has(field)) {
    yield* entryDifferences(path, field, entriesOf(field, before), entriesOf(field, after));
    return;
  }
  const [old, now] = [membersOf(before), membersOf(after)];
  const isOne = (old && now) || (CONTAINERS.has(field) && (old || now));
  if (!isOne && identityKey(before) === identityKey(after)) return;
  if (!isOne) yield differenceAt(path, field, before, after);
  if (!isOne && !OPENED.has(field)) return;
  for (const name of new Set([...Object.keys(old ?? {}), ...Object.keys(now ?? {})]))
    yield* differences([...path, name], memberOf(old, name), memberOf(now, name));
}

function* entryDifferences(
  path: readonly string[],
  field: string,
  before: ReadonlyMap<string, unknown>,
  after: ReadonlyMap<string, unknown>,
): Generator<ValueChange> {
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    const [was, is] = [before.get(key), after.get(key)];
    if (was === undefined || is === undefined) yield differenceAt(path, field, was, is);
    // The entry has the same identity, but its other fields differ.
    else if (identityKey(was) !== identityKey(is)) yield differenceAt(path, `${field}.*`, was, is);
  }
}

function differenceAt(path: readonly string[], field: string, before: unknown, after: unknown): ValueChange {
  const does = before === undefined ? 'gains' : after === undefined ? 'loses' : 'changes';
  return { path, field, before, after, does };
}

function fieldOf(path: readonly string[]): string {
  let field = '';
  for (const name of path) field = field === '' ? name : `${field}.${NAMED.has(field) ? '*' : name}`;
  return field;
}

/** Indexes the entries of a list by their identity. Their order does not matter, and equal entries count as one. */
function entriesOf(field: string, list: unknown): ReadonlyMap<string, unknown> {
  const keyOf = (entry: object) => identityKey(REASONED.has(field) ? { ...entry, reason: undefined } : entry);
  return new Map(((list ?? []) as readonly object[]).map((entry) => [keyOf(entry), entry]));
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Readonly<Record<string, unknown>>) : undefined;
}

/**
 * Returns a member of an object. Users choose the names, so a name such as `constructor` must not find an inherited
 * property.
 */
function memberOf(members: Readonly<Record<string, unknown>> | undefined, name: string): unknown {
  return members && Object.hasOwn(members, name) ? members[name] : undefined;
}

function isWider({ field, does, before, after }: ValueChange): boolean {
  if (NEUTRAL.has(field)) return false;
  if (does !== 'changes') return NARROWS.has(field) === (does === 'loses');
  // If the value is neither a number nor a boolean, the effect of the change is unknown.
  if (typeof before === 'boolean') return after === true;
  if (typeof before !== 'number' || typeof after !== 'number') return true;
  return LESS_IS_WIDER.has(field) ? after < before : after > before;
}

/** The defaults for access files that do not specify `operators`. */
const NOBODY: Operators = {
  roles: { viewer: [], approver: [], operator: [], 'security-officer': [], admin: [] },
  serviceAccounts: [],
  session: 3_600,
  deviceFlow: false,
};

/**
 * Converts an access file to a value that can be compared. It contains everything except for file names and source
 * positions, including fields that are unknown to this module.
 */
function comparableAccess({ file: _, files: __, ...access }: Access): Readonly<Record<string, unknown>> {
  const { trust, deny = [], operators = NOBODY, grants, webhooks = [], ...rest } = withoutPlaces(access);
  const { issuers, ...trusted } = trust;
  return {
    ...rest,
    trust: { ...trusted, issuers: byName(issuers) },
    operators: statedOperators(operators),
    deny,
    approvals: { webhooks: byName(webhooks) },
    grants: byName(grants.map(statedGrant)),
  };
}

/** Serializes a value as JSON with sorted keys and entries, because their order does not matter in an access file. */
export function identityKey(value: unknown): string {
  return canonicalJson(unordered(value) ?? null);
}

function statedOperators({ roles, serviceAccounts, ...rest }: Operators): object {
  const named = serviceAccounts.map(({ namespace, name, ...account }) => ({
    ...account,
    name: `${namespace}/${name}`,
  }));
  return { ...roles, ...rest, serviceAccounts: byName(named) };
}

function statedGrant(grant: Grant): { readonly name: string } {
  const { except = [], to, kubernetesRoles, kubernetesAllow = [], approval, ...rest } = grant;
  return {
    ...rest,
    except,
    to: to.flatMap(statedCalls),
    'to.deny': to.flatMap(statedDenials),
    kubernetes: { roles: kubernetesRoles, allow: kubernetesAllow },
    approval: approval && statedApproval(approval, grant.who),
  } as { readonly name: string };
}

/** Splits a target into one entry for each operation. Each entry also contains the other fields of the target. */
function statedCalls({ allow, deny: _, ...rest }: GrantTarget): readonly object[] {
  return allow ? allow.map((call) => ({ ...rest, call })) : [rest];
}

/**
 * Lists denied operations as separate entries, because a new denial does not change which other calls the target
 * allows. A grant lists each target only once.
 */
function statedDenials({ allow: _, require: __, deny = [], ...on }: GrantTarget): readonly object[] {
  return deny.map((call) => ({ ...on, call }));
}

/** @param asking the people who may use the emergency approval unless it specifies others */
function statedApproval({ emergency, ...rest }: Approval, asking: readonly Who[]): object {
  if (!emergency) return rest;
  const { who = asking, review, ...bounds } = emergency;
  return { ...rest, emergency: { ...bounds, who, review } };
}

/**
 * Removes all source positions from a value. A claim can also be named `place`, so the member's content is checked as
 * well.
 */
export function withoutPlaces<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withoutPlaces) as T;
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([name, member]) => name !== 'place' || !isPlace(member));
  return Object.fromEntries(kept.map(([name, member]) => [name, withoutPlaces(member)])) as T;
}

function isPlace(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'file' in value && 'line' in value;
}

function byName<T extends { readonly name: string }>(all: readonly T[]): Readonly<Record<string, Omit<T, 'name'>>> {
  return Object.fromEntries(all.map(({ name, ...rest }) => [name, rest]));
}

function unordered(value: unknown): unknown {
  if (Array.isArray(value)) {
    const keyed = value.map(unordered).map((entry) => [canonicalJson(entry), entry] as const);
    return keyed.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, unordered(member)]));
}
