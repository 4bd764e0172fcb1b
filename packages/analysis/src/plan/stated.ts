/**
 * Converts an access file to a single value that can be compared. It contains everything except for source positions,
 * including fields that are unknown to this module.
 */
import type { Access, Approval, Denial, Grant, GrantTarget, Operators, Who } from '@meshpass/access/compile';
import { canonicalJson } from '../canonical-json.ts';

/** Entries by their identity. Their order does not matter, and entries with the same identity count as one entry. */
export type EntriesByIdentity = ReadonlyMap<string, unknown>;

/** The defaults for access files that do not specify `operators`. */
const NOBODY: Operators = {
  roles: { viewer: [], approver: [], operator: [], 'security-officer': [], admin: [] },
  serviceAccounts: [],
  session: 3_600,
  deviceFlow: false,
};

/** An empty access file, which serves as the previous version when the first access file is added. */
export const NO_ACCESS: Access = { file: '', trust: { issuers: [], audiences: [] }, grants: [] };

/**
 * Converts an access file to a comparable value. File names and positions are left out, because they are not part of
 * its content.
 */
export function comparableAccess({ file: _, files: __, ...access }: Access): Readonly<Record<string, unknown>> {
  const { trust, deny = [], operators = NOBODY, grants, webhooks = [], ...rest } = withoutPlaces(access);
  const { issuers, ...trusted } = trust;
  return {
    ...rest,
    trust: { ...trusted, issuers: byName(issuers) },
    operators: statedOperators(operators),
    deny: denials(deny),
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
    except: denials(except),
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

/** Indexes denials by their identity, which does not include the reason because it merely describes a denial. */
function denials(all: readonly Denial[]): EntriesByIdentity {
  return new Map(
    all.map(({ reason, ...who }) => [identityKey(who), { ...who, ...(reason !== undefined && { reason }) }]),
  );
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
  const entries = value instanceof Map ? [...value.values()] : value;
  if (Array.isArray(entries)) {
    const keyed = entries.map(unordered).map((entry) => [canonicalJson(entry), entry] as const);
    return keyed.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, unordered(member)]));
}
