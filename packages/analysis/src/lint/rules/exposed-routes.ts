/** Rules about routes that are reachable through gateways without an identity. */

import { coversHost } from '@meshpass/istio';
import {
  describeCallerInput,
  describeCallers,
  describeCalls,
  describeDestination,
  describeGateway,
} from '../describe.ts';
import type { Exposure } from '../exposure/exposure.ts';
import { openGateways } from '../exposure/requires-identity.ts';
import { whyTestRoute } from '../exposure/test-route.ts';
import type { Rule } from '../rule.ts';
import { coversMatch } from '../text-match.ts';

/** A test route is publicly callable. This is the main purpose of the linter. */
const openTestRoute: Rule = {
  code: 'MP101',
  name: 'open-test-route',
  severity: 'error',
  title: 'A test route is reachable through a gateway without an identity',
  fix: 'Remove `gateways` so that the route applies inside the mesh only, and reach it with an identity (a grant in the access file); or require one at the gateway: a DENY with `notRequestPrincipals: ["*"]` on its host and path.',
  *check(context) {
    for (const exposure of context.exposures) {
      const why = whyTestRoute(context, exposure);
      const open = why === undefined ? [] : openGateways(context.mesh, exposure);
      if (open.length === 0) continue;
      yield {
        on: exposure.on,
        path: exposure.destinationPath,
        message: `${describeCalls(exposure)} reaches ${describeDestination(exposure)} through ${open.map(describeGateway).join(' and ')}: open to ${describeCallers(exposure)}. It is a test route: ${why}.`,
      };
    }
  },
};

/** Routes that this change exposes. Needs a state to compare with. */
const newExposure: Rule = {
  code: 'MP102',
  name: 'new-exposure',
  severity: 'warning',
  title: 'A route or host becomes reachable through a gateway and was not before',
  fix: 'If it is intended to be public, record that in a suppression; otherwise remove `gateways` or require an identity.',
  *check(context) {
    const { base } = context;
    if (!base) return;
    const exposed = base.exposures.map((one) => ({ ...one, gateways: openGateways(base.mesh, one) }));
    const before = Map.groupBy(exposed, keyOf);
    for (const exposure of context.exposures) {
      const open = openGateways(context.mesh, exposure);
      const opened = open.filter(
        ({ name }) =>
          !(before.get(keyOf(exposure)) ?? []).some(
            (old) => old.gateways.some((one) => one.name === name) && includes(old, exposure),
          ),
      );
      if (opened.length === 0) continue;
      yield {
        on: exposure.on,
        path: exposure.destinationPath,
        message: `new: ${describeCalls(exposure)} reaches ${describeDestination(exposure)} through ${opened.map(describeGateway).join(' and ')}: open to ${describeCallers(exposure)}.`,
      };
    }
  },
};

function keyOf({ destination, protocol }: Exposure): string {
  return `${protocol} ${destination.host} ${destination.subset ?? ''} ${destination.port ?? ''}`;
}

/** Whether the old exposure already included everything that the new one allows. */
function includes(old: Exposure, now: Exposure): boolean {
  const hosts = now.hosts.every((host) => old.hosts.some((one) => coversHost(one, host)));
  if (!hosts || old.matches.length === 0) return hosts;
  return now.matches.length > 0 && now.matches.every((match) => old.matches.some((one) => coversMatch(one, match)));
}

/** A destination is reachable from outside only with a header, which any caller can send. */
const headerOnlyGuard: Rule = {
  code: 'MP106',
  name: 'header-only-guard',
  severity: 'warning',
  title: 'A route is protected only by a header, cookie or query parameter, which any caller can send',
  fix: 'Require an identity: match a verified claim (`@request.auth.claims.NAME`), or DENY calls without `requestPrincipals` at the gateway.',
  *check(context) {
    // A different host is a separate destination. A different subset of the same host is a canary.
    const open = new Set(context.exposures.filter(takesAnyInput).map(({ destination }) => destination.host));
    for (const exposure of context.exposures) {
      const { matches } = exposure;
      if (matches.some(hasClaim) || open.has(exposure.destination.host)) continue;
      const through = openGateways(context.mesh, exposure);
      if (through.length === 0) continue;
      yield {
        on: exposure.on,
        path: [...exposure.path, 'match'],
        part: 'key',
        message: `${describeDestination(exposure)} is reached through ${through.map(describeGateway).join(' and ')} by any caller that sends ${describeCallerInput(matches[0]!)}. A header is not an identity.`,
      };
    }
  },
};

/** True if a call needs no header, cookie or query parameter. */
function takesAnyInput({ matches }: Exposure): boolean {
  return matches.length === 0 || matches.some((match) => describeCallerInput(match) === '');
}

function hasClaim({ headers }: Exposure['matches'][number]): boolean {
  return Object.keys(headers ?? {}).some((name) => name.startsWith('@request.auth.claims'));
}

export const EXPOSED_ROUTE_RULES: readonly Rule[] = [openTestRoute, newExposure, headerOnlyGuard];
