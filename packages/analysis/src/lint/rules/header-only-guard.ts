import { describeCallerInput, describeDestination, describeGateway } from '../describe.ts';
import type { Exposure } from '../exposure/exposure.ts';
import { openGateways } from '../exposure/requires-identity.ts';
import type { Rule } from '../rule.ts';

/** A destination that a caller from outside gets by writing a header, and in no other way. */
export const headerOnlyGuard: Rule = {
  code: 'MP106',
  name: 'header-only-guard',
  severity: 'warning',
  title: 'A route is protected only by a header, cookie or query parameter, which any caller can send',
  fix: 'Require an identity: match a verified claim (`@request.auth.claims.NAME`), or DENY calls without `requestPrincipals` at the gateway.',
  *check(context) {
    const open = new Set<string>();
    for (const exposure of context.exposures) {
      const { matches } = exposure;
      if (matches.length === 0 || matches.some((match) => describeCallerInput(match) === '')) open.add(keyOf(exposure));
    }
    for (const exposure of context.exposures) {
      const { matches } = exposure;
      if (matches.length === 0 || !matches.every((match) => describeCallerInput(match) !== '')) continue;
      if (matches.some(hasClaim) || open.has(keyOf(exposure))) continue;
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

/** Another host is another thing; another subset of the same host is a canary. */
function keyOf({ destination }: Exposure): string {
  return destination.host;
}

function hasClaim({ headers }: Exposure['matches'][number]): boolean {
  return Object.keys(headers ?? {}).some((name) => name.startsWith('@request.auth.claims'));
}
