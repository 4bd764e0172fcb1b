/**
 * Represents policy requirements as formulas, which combine tests of single fields with and, or, not. Workloads share
 * formulas. Formulas are compared by identity, so each one must be built only once.
 */
import { memoize } from '@meshpass/identity/memory/memoize';
import { parsePathTest, type TextTest } from './text-test.ts';

export type Condition =
  | { readonly op: 'constant'; readonly value: boolean }
  | { readonly op: 'all' | 'any'; readonly of: readonly Condition[] }
  | { readonly op: 'not'; readonly of: Condition }
  | Test;

/**
 * Test of a single field. If the field has more than one value (claims, audiences), it passes if any of the values
 * does.
 */
export type Test =
  | { readonly op: 'text'; readonly field: TextField; readonly test: TextTest }
  | { readonly op: 'flag'; readonly field: FlagField }
  | { readonly op: 'address'; readonly field: AddressField; readonly range: string };

/** Fields that are true or false. */
export type FlagField =
  /** The peer has proven its identity with mutual TLS. */
  | 'peer'
  /** A token that cannot be verified is present in a location that the workload reads: `unverified:LOCATION`. */
  | `unverified:${string}`
  /** An external authorizer allows the call: `custom:PROVIDER`. */
  | `custom:${string}`
  /** The caller is in the private network behind an internal entry point. */
  | 'private'
  /** The Host header of a call from outside includes a port. In that case, the field `host` does not include it. */
  | 'host.port'
  /** A condition that formulas cannot express, with the reason. Conditions with equal reasons are the same. */
  | `opaque:${string}`;

export type AddressField = 'source.ip' | 'remote.ip' | 'destination.ip';

/**
 * Text fields. A peer's identity `spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT` is split into its parts. `token.*`
 * fields belong to a token with a valid signature. Whether the workload accepts its issuer is part of the formula.
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
  /** Protocol and port of the entry point: `https:443`. */
  | 'listener'
  /** Query parameter: `query:version`. */
  | `query:${string}`
  /** Claim, which may have more than one value: `token.claim:a][b` is claim b within claim a. */
  | `token.claim:${string}`
  /** Header name in lower case: `header:x-team`. */
  | `header:${string}`
  /** Envoy's dynamic metadata, by the key that the policy uses. */
  | `metadata:${string}`;

export const ALWAYS: Condition = { op: 'constant', value: true };
export const NEVER: Condition = { op: 'constant', value: false };

/** Returns the conjunction of conditions. Constants are folded. */
export function all(of: readonly Condition[]): Condition {
  const asked = of.filter((one) => one !== ALWAYS);
  if (asked.includes(NEVER)) return NEVER;
  return asked.length === 0 ? ALWAYS : asked.length === 1 ? asked[0]! : { op: 'all', of: asked };
}

/** Returns the disjunction of conditions. Constants are folded. */
export function any(of: readonly Condition[]): Condition {
  const offered = of.filter((one) => one !== NEVER);
  if (offered.includes(ALWAYS)) return ALWAYS;
  return offered.length === 0 ? NEVER : offered.length === 1 ? offered[0]! : { op: 'any', of: offered };
}

/** Negates a condition. */
export function not(of: Condition): Condition {
  if (of === ALWAYS) return NEVER;
  return of === NEVER ? ALWAYS : { op: 'not', of };
}

/** Creates a test of a text field. */
export function text(field: TextField, test: TextTest): Condition {
  return { op: 'text', field, test };
}

/** Creates a test for a path in a policy: exact, with `*` at one end, or a template. */
export function path(value: string): Condition {
  const test = parsePathTest(value);
  return test ? text('path', test) : NEVER;
}

/** Creates a test of a flag. */
export function flag(field: FlagField): Condition {
  return { op: 'flag', field };
}

/** Whether a field may have more than one value at the same time. */
export function isMultiValued(field: TextField): boolean {
  return field.startsWith('token.claim:');
}

/**
 * Yields every test in a formula, visiting each object once.
 * @param seen shared parts that have already been visited
 */
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

/**
 * Replaces every test in a formula and simplifies the result. Shared parts are processed only once.
 * @param of returns the replacement; must depend only on the test
 */
export function replaceTests(condition: Condition, of: (test: Test) => Condition): Condition {
  const replace = memoize((part: Condition): Condition => {
    switch (part.op) {
      case 'constant':
        return part.value ? ALWAYS : NEVER;
      case 'all':
        return all(part.of.map(replace));
      case 'any':
        return any(part.of.map(replace));
      case 'not':
        return not(replace(part.of));
      default:
        return of(part);
    }
  }, new Map());
  return replace(condition);
}
