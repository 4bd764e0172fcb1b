/**
 * Represents policy requirements as formulas, which combine tests of single fields with "and", "or" and "not".
 * Workloads share formulas. Formulas are compared by identity, so each one must be created only once.
 */
import { memoize } from '@meshpass/identity';
import { parsePathTest, type TextTest } from './text-test.ts';

export type Condition =
  | { readonly op: 'constant'; readonly value: boolean }
  | { readonly op: 'all' | 'any'; readonly of: readonly Condition[] }
  | { readonly op: 'not'; readonly of: Condition }
  | Test;

/**
 * A test of a single field. If the field has more than one value, such as a claim or the audiences of a token, at least
 * one of the values has to pass the test.
 */
export type Test =
  | { readonly op: 'text'; readonly field: TextField; readonly test: TextTest }
  | { readonly op: 'flag'; readonly field: FlagField }
  | { readonly op: 'address'; readonly field: AddressField; readonly range: string };

/** Fields whose value is either true or false. */
export type FlagField =
  /** Whether the peer has proven its identity with mutual TLS. */
  | 'peer'
  /** Whether the workload finds a token that cannot be verified in the given location: `unverified:LOCATION`. */
  | `unverified:${string}`
  /** Whether an external authorizer allows the call: `custom:PROVIDER`. */
  | `custom:${string}`
  /** Whether the caller is in the private network behind an internal entry point. */
  | 'private'
  /**
   * Whether the Host header of a call from outside the mesh includes a port. The `host` field then does not include it.
   */
  | 'host.port'
  /**
   * A condition that formulas cannot express. The name contains the reason, and conditions with the same reason count
   * as one.
   */
  | `opaque:${string}`;

export type AddressField = 'source.ip' | 'remote.ip' | 'destination.ip';

/**
 * Text fields. The peer's identity, `spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT`, is split into its parts. The
 * `token.*` fields belong to a token with a valid signature. The formula also states whether the workload accepts its
 * issuer.
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
  /** The protocol and port of the entry point, such as `https:443`. */
  | 'listener'
  /** A query parameter, such as `query:version`. */
  | `query:${string}`
  /**
   * A token claim, which may have more than one value. For example, `token.claim:a][b` is the claim b within the claim
   * a.
   */
  | `token.claim:${string}`
  /** A request header by its lowercase name, such as `header:x-team`. */
  | `header:${string}`
  /** Envoy's dynamic metadata, identified by the key that the policy uses. */
  | `metadata:${string}`;

export const ALWAYS: Condition = { op: 'constant', value: true };
export const NEVER: Condition = { op: 'constant', value: false };

/** Returns the condition that always or never holds. */
export function constant(value: boolean): Condition {
  return value ? ALWAYS : NEVER;
}

/** Combines conditions with a logical AND, folding constants. */
export function all(of: readonly Condition[]): Condition {
  const asked = of.filter((one) => one !== ALWAYS);
  if (asked.includes(NEVER)) return NEVER;
  return asked.length === 0 ? ALWAYS : asked.length === 1 ? asked[0]! : { op: 'all', of: asked };
}

/** Combines conditions with a logical OR, folding constants. */
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

/** Creates a condition that tests a text field. */
export function text(field: TextField, test: TextTest): Condition {
  return { op: 'text', field, test };
}

/** Creates a condition for a path in policy notation: an exact path, a path with `*` at one end, or a template. */
export function path(value: string): Condition {
  const test = parsePathTest(value);
  return test ? text('path', test) : NEVER;
}

/** Creates a condition that requires a flag to be true. */
export function flag(field: FlagField): Condition {
  return { op: 'flag', field };
}

/** Creates an opaque condition, which stands for a test that formulas cannot express. */
export function opaque(reason: string): Condition {
  return flag(`opaque:${reason}`);
}

/** Returns the reason for an opaque field, or undefined for other fields. */
export function opaqueReason(field: string): string | undefined {
  return field.startsWith('opaque:') ? field.slice('opaque:'.length) : undefined;
}

/** Whether a field may have more than one value at the same time. */
export function isMultiValued(field: TextField): boolean {
  return field.startsWith('token.claim:');
}

/**
 * Yields every test in a formula. Subformulas that occur more than once are only visited once.
 * @param seen the parts that have already been visited
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
 * Replaces every test in a formula and simplifies the result. Subformulas that occur more than once are only processed
 * once.
 * @param of returns the replacement for a test, and must not depend on anything else
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
