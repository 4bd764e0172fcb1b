/** Defines rules about routes that can be reached from outside without an identity. */

import { describeCallerInput, describeDestination } from '../../exposure/describe.ts';
import type { Exposure } from '../../exposure/exposure.ts';
import { needsClaim, publicPassages } from '../../exposure/identity.ts';
import { createNewPassageTest } from '../../exposure/new-ways.ts';
import { adminInterfaceName } from '../exposure/admin-tool.ts';
import { whyTestRoute } from '../exposure/test-names.ts';
import { each, type Rule } from '../rule.ts';
import {
  checkEachExposure,
  describeEntryPoints,
  describeReach,
  isAddedByEnvoyFilter,
  oncePerPlace,
  openProblem,
} from './passage-words.ts';

/** Reports test routes that can be reached by the public. Finding such routes is the main purpose of the linter. */
const openTestRoute: Rule = {
  code: 'MP101',
  name: 'open-test-route',
  severity: 'error',
  title: 'A test route is reachable from outside without an identity',
  fix: 'Make it reachable inside the mesh only (remove `gateways`, the parentRef, the Ingress or the type of the Service), and reach it with an identity (a grant in the access file); or require one at the gateway: a DENY with `notRequestPrincipals: ["*"]` on its host and path.',
  check: checkEachExposure((exposure, context) => {
    // These exposures are reported by another rule, even if they lead to a test.
    if (isAddedByEnvoyFilter(exposure) || adminInterfaceName(context, exposure)) return undefined;
    const why = whyTestRoute(context, exposure);
    const open = why === undefined ? [] : publicPassages(context, exposure);
    if (open.length === 0) return undefined;
    return openProblem(open, `${describeReach(exposure, open)}. It is a test route: ${why}.`);
  }),
};

/** Reports routes that a change exposes. This requires an earlier state to compare with. */
const newExposure: Rule = {
  code: 'MP102',
  name: 'new-exposure',
  severity: 'warning',
  title: 'A route, host or port becomes reachable from outside and was not before',
  fix: 'If it is intended to be public, record that in a suppression; otherwise remove `gateways` or require an identity.',
  *check(context) {
    const { base } = context;
    if (!base) return;
    const isNew = createNewPassageTest(base);
    const check = checkEachExposure((exposure) => {
      const opened = publicPassages(context, exposure).filter((passage) => isNew(exposure, passage));
      return opened.length === 0 ? undefined : { message: `new: ${describeReach(exposure, opened)}.` };
    });
    yield* check(context);
  },
};

/**
 * Reports destinations that are only reachable from outside with a certain header, because any caller can send that
 * header.
 */
const headerOnlyGuard: Rule = {
  code: 'MP106',
  name: 'header-only-guard',
  severity: 'warning',
  title: 'A route is protected only by a header, cookie or query parameter, which any caller can send',
  fix: 'Require an identity: match a verified claim (`@request.auth.claims.NAME`), or DENY calls without `requestPrincipals` at the gateway.',
  *check(context) {
    // A different host is a destination of its own, whereas a different subset of the same host is a canary.
    const open = new Set(context.exposures.filter(takesAnyInput).map(({ destination }) => destination.host));
    const byInput = context.exposures.filter(
      (one) => !takesAnyInput(one) && !one.matches.some(needsClaim) && !open.has(one.destination.host),
    );
    const check = each(
      () => byInput,
      (exposure) => {
        const { matches, on } = exposure;
        // An Ingress only requires a header if its annotations declare it as a canary.
        if (on.kind === 'Ingress' || (on.kind !== 'VirtualService' && isCanary(exposure, context.exposures)))
          return undefined;
        const through = publicPassages(context, exposure);
        if (through.length === 0) return undefined;
        return {
          at: [on.kind === 'VirtualService' ? 'match' : 'matches'],
          part: 'key',
          message: `${describeDestination(exposure)} is reached through ${describeEntryPoints(through)} by any caller that sends ${describeCallerInput(matches[0]!)}. A header is not an identity.`,
        };
      },
    );
    yield* oncePerPlace(check(context));
  },
};

/**
 * Checks whether an exposure is a canary. It is one if the same route sends other calls to the Service that this
 * destination is a variant of, such as `orders` for `orders-canary`.
 */
function isCanary({ on, destination }: Exposure, all: readonly Exposure[]): boolean {
  const name = (host: string) => host.split('.', 1)[0] ?? '';
  return all.some(
    (one) => one.on === on && takesAnyInput(one) && name(destination.host).startsWith(`${name(one.destination.host)}-`),
  );
}

/** Checks whether the exposure accepts calls without any particular header, cookie or query parameter. */
function takesAnyInput({ matches }: Exposure): boolean {
  return matches.length === 0 || matches.some((match) => describeCallerInput(match) === '');
}

export const EXPOSED_ROUTE_RULES: readonly Rule[] = [openTestRoute, newExposure, headerOnlyGuard];
