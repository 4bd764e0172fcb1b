/** Defines the fields that rules and conditions have in common, and how their values are compared. */
import type { AuthorizationAction } from '@meshpass/istio';
import { parseAddress, parseCidr } from '../../address.ts';
import type { CallFacts, Test } from '../facts.ts';

export interface RuleContext {
  /** The namespace that the policy belongs to. */
  readonly namespace: string;
  readonly action: AuthorizationAction;
  /** Whether the rule applies to connections that are not parsed as HTTP. */
  readonly forTcp: boolean;
  /** The mesh's own trust domain, followed by its aliases. */
  readonly trustDomains: readonly string[];
}

/** A field of a rule. It matches if at least one of its values does. */
export interface Part {
  readonly values: readonly string[] | undefined;
  readonly notValues: readonly string[] | undefined;
  /**
   * Compiles all of the values together or, if `each` is true, a single value.
   * @returns the test, or undefined if istiod cannot translate the values
   */
  readonly compile: (values: readonly string[]) => Test | undefined;
  /**
   * Whether each value is compiled separately. If so, an invalid value in a DENY rule does not affect the other values.
   */
  readonly each: boolean;
}

/** Creates a field that compiles all of its values together. */
export function part(values: Part['values'], notValues: Part['values'], compile: Part['compile']): Part {
  return { values, notValues, compile, each: false };
}

/** Creates a field that compiles each of its values separately. */
function partOfEach(
  values: Part['values'],
  notValues: Part['values'],
  compile: (value: string) => Test | undefined,
): Part {
  return { values, notValues, each: true, compile: ([value]) => compile(value!) };
}

/**
 * Creates a field whose values are IP addresses and CIDR ranges.
 * @param of returns the address to test, given the facts about a call
 */
export function addressPart(
  values: Part['values'],
  notValues: Part['values'],
  of: (facts: CallFacts) => string | undefined,
): Part {
  return partOfEach(values, notValues, (value) => {
    const range = parseCidr(value);
    if (!range) return undefined;
    const { first, last } = range;
    return (facts) => {
      const address = of(facts);
      const number = address === undefined ? undefined : parsedAddress(address);
      return number !== undefined && first <= number && number <= last;
    };
  });
}

const REMEMBERED = 256;
const parsed = new Map<string, bigint | undefined>();

/** Parses an address, and caches the result because calls come from only a few different addresses. */
function parsedAddress(text: string): bigint | undefined {
  const known = parsed.get(text);
  if (known !== undefined || parsed.has(text)) return known;
  if (parsed.size >= REMEMBERED) parsed.clear();
  const address = parseAddress(text);
  parsed.set(text, address);
  return address;
}

/** Creates a field whose values are port numbers. */
export function portPart(values: Part['values'], notValues: Part['values']): Part {
  return partOfEach(values, notValues, (value) => {
    if (!/^[0-9]{1,10}$/.test(value) || Number(value) > 65535) return undefined;
    const wanted = Number(value);
    return ({ port }) => port === wanted;
  });
}

/** Creates a test that passes if the peer is authenticated and its URI passes at least one of the given tests. */
export function peerTest(tests: readonly ((uri: string) => boolean)[]): Test {
  if (tests.length === 1) {
    const [only] = tests;
    return ({ principal }) => principal !== '' && only!(principal);
  }
  return ({ principal }) => principal !== '' && tests.some((test) => test(principal));
}
