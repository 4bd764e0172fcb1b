/**
 * What a policy asks of a call, as a formula: tests of single fields under and, or, not. Formulas are shared between
 * workloads and compared by identity, so build each once.
 */
import { readPath, type TextTest } from './text-test.ts';

export type Condition =
  | { readonly op: 'constant'; readonly value: boolean }
  | { readonly op: 'all' | 'any'; readonly of: readonly Condition[] }
  | { readonly op: 'not'; readonly of: Condition }
  | Test;

/** A test of one field. Fields that hold several values (claims, audiences) pass where one of the values does. */
export type Test =
  | { readonly op: 'text'; readonly field: TextField; readonly test: TextTest }
  | { readonly op: 'flag'; readonly field: FlagField }
  | { readonly op: 'address'; readonly field: AddressField; readonly range: string };

/** Fields that are true or not. */
export type FlagField =
  /** The peer proved its identity by mutual TLS. */
  | 'peer'
  /** A token that does not verify stands where the workload looks for one: `unverified:LOCATION`. */
  | `unverified:${string}`
  /** An external authorizer agrees: `custom:PROVIDER`. */
  | `custom:${string}`;

export type AddressField = 'source.ip' | 'remote.ip' | 'destination.ip';

/**
 * Fields that are text. A peer's identity is `spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT`, by its parts. `token.*` are of a
 * token whose signature is good; whether the workload takes its issuer is part of the formula.
 */
export type TextField =
  | 'peer.namespace'
  | 'connection.sni'
  | 'peer.account'
  | 'peer.trustDomain'
  | 'token.issuer'
  | 'token.subject'
  | 'host'
  | 'method'
  | 'path'
  /** One or several values: `token.claim:a][b` for claim b within a. */
  | `token.claim:${string}`
  /** In lower case: `header:x-team`. */
  | `header:${string}`
  /** Envoy's dynamic metadata, by the key that the policy names. */
  | `metadata:${string}`;

export const ALWAYS: Condition = { op: 'constant', value: true };
export const NEVER: Condition = { op: 'constant', value: false };

export function all(of: readonly Condition[]): Condition {
  const asked = of.filter((one) => one !== ALWAYS);
  if (asked.includes(NEVER)) return NEVER;
  return asked.length === 0 ? ALWAYS : asked.length === 1 ? asked[0]! : { op: 'all', of: asked };
}

export function any(of: readonly Condition[]): Condition {
  const offered = of.filter((one) => one !== NEVER);
  if (offered.includes(ALWAYS)) return ALWAYS;
  return offered.length === 0 ? NEVER : offered.length === 1 ? offered[0]! : { op: 'any', of: offered };
}

export function not(of: Condition): Condition {
  if (of === ALWAYS) return NEVER;
  return of === NEVER ? ALWAYS : { op: 'not', of };
}

export function text(field: TextField, test: TextTest): Condition {
  return { op: 'text', field, test };
}

/** A path as policies write it: exact, with `*` at one end, or a template. */
export function path(value: string): Condition {
  const test = readPath(value);
  return test ? text('path', test) : NEVER;
}

export function flag(field: FlagField): Condition {
  return { op: 'flag', field };
}

/** Whether a field holds several values at once. */
export function isMany(field: TextField): boolean {
  return field.startsWith('token.claim:');
}

/** Every test in a formula, each object once. @param seen shared parts that were visited already */
export function* testsOf(condition: Condition, seen: Set<Condition>): Generator<Test> {
  if (seen.has(condition)) return;
  seen.add(condition);
  switch (condition.op) {
    case 'constant':
      return;
    case 'all':
    case 'any':
      for (const one of condition.of) yield* testsOf(one, seen);
      return;
    case 'not':
      return yield* testsOf(condition.of, seen);
    default:
      yield condition;
  }
}
