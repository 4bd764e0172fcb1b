/** Fields that rules and conditions share, and how their values are compared. */
import type { AuthorizationAction } from '@meshpass/istio';
import { parseAddress, parseCidr } from '../../address.ts';
import type { CallFacts, Test } from '../facts.ts';

export interface RuleContext {
  /** Namespace of the policy. */
  readonly namespace: string;
  readonly action: AuthorizationAction;
  /** Whether the rule applies to connections on which HTTP is not parsed. */
  readonly forTcp: boolean;
  /** Trust domains of the mesh: its own, followed by its aliases. */
  readonly trustDomains: readonly string[];
}

/** Field of a rule. It matches if any of its values does. */
export interface Part {
  readonly values: readonly string[] | undefined;
  readonly notValues: readonly string[] | undefined;
  /**
   * Compiles all values together, or only one value if `each` is set.
   * @returns undefined if istiod cannot translate them
   */
  readonly compile: (values: readonly string[]) => Test | undefined;
  /**
   * Whether values are compiled one at a time. If so, an invalid value does not affect the other values of a DENY rule.
   */
  readonly each: boolean;
}

/** Creates a field whose values are compiled together. */
export function part(values: Part['values'], notValues: Part['values'], compile: Part['compile']): Part {
  return { values, notValues, compile, each: false };
}

/** Creates a field whose values are compiled one at a time. */
function partOfEach(
  values: Part['values'],
  notValues: Part['values'],
  compile: (value: string) => Test | undefined,
): Part {
  return { values, notValues, each: true, compile: ([value]) => compile(value!) };
}

/**
 * Creates a field whose values are addresses and CIDR ranges.
 * @param of returns the address to test from a call's facts
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

/** Parses an address. Results are cached, because calls come from few different addresses. */
function parsedAddress(text: string): bigint | undefined {
  const known = parsed.get(text);
  if (known !== undefined || parsed.has(text)) return known;
  if (parsed.size >= REMEMBERED) parsed.clear();
  const address = parseAddress(text);
  parsed.set(text, address);
  return address;
}

/** Creates a field whose values are ports. */
export function portPart(values: Part['values'], notValues: Part['values']): Part {
  return partOfEach(values, notValues, (value) => {
    if (!/^[0-9]{1,10}$/.test(value) || Number(value) > 65535) return undefined;
    const wanted = Number(value);
    return ({ port }) => port === wanted;
  });
}

/** Tests the peer's URI. At least one of the tests must match. */
export function peerTest(tests: readonly ((uri: string) => boolean)[]): Test {
  if (tests.length === 1) {
    const [only] = tests;
    return ({ principal }) => principal !== '' && only!(principal);
  }
  return ({ principal }) => principal !== '' && tests.some((test) => test(principal));
}
