/** The fields that rules and their conditions share: what each compares, and with what. */
import type { AuthorizationAction } from '@meshpass/istio';
import type { Facts, Test } from '../facts.ts';
import { addressTest } from './address.ts';

export interface RuleContext {
  /** Of the policy. */
  readonly namespace: string;
  readonly action: AuthorizationAction;
  /** Rules for connections whose HTTP, if they speak it, is not looked into. */
  readonly forTcp: boolean;
  /** The mesh's own first, then its aliases. */
  readonly trustDomains: readonly string[];
}

/** One field of a rule: whether any of some of its values matches. */
export interface Part {
  readonly values: readonly string[] | undefined;
  readonly notValues: readonly string[] | undefined;
  /**
   * Compiles values, all of them or, with `each`, one at a time.
   * @returns undefined where istiod can make nothing of them
   */
  readonly compile: (values: readonly string[]) => Test | undefined;
  /** Values are compiled one at a time: one that is not understood does not spoil the others of a DENY. */
  readonly each: boolean;
}

export function part(values: Part['values'], notValues: Part['values'], compile: Part['compile']): Part {
  return { values, notValues, compile, each: false };
}

export function addressPart(
  values: Part['values'],
  notValues: Part['values'],
  of: (facts: Facts) => string | undefined,
): Part {
  return {
    ...{ values, notValues, each: true },
    compile: ([value]) => {
      const test = addressTest(value!);
      return (
        test &&
        ((facts) => {
          const address = of(facts);
          return address !== undefined && test(address);
        })
      );
    },
  };
}

export function portPart(values: Part['values'], notValues: Part['values']): Part {
  return {
    ...{ values, notValues, each: true },
    compile: ([value]) => {
      if (!/^[0-9]{1,10}$/.test(value!) || Number(value) > 65535) return undefined;
      const wanted = Number(value);
      return ({ port }) => port === wanted;
    },
  };
}

/** Tests of the peer's URI, of which any is enough. */
export function ofPeer(tests: readonly ((uri: string) => boolean)[]): Test {
  if (tests.length === 1) {
    const [only] = tests;
    return ({ principal }) => principal !== '' && only!(principal);
  }
  return ({ principal }) => principal !== '' && tests.some((test) => test(principal));
}
