import { coversHost, type HttpMatch, type StringMatch } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import { describeCallers, describeCalls, describeDestination, describeGateway } from '../describe.ts';
import type { Exposure } from '../exposure/exposure.ts';
import { openGateways } from '../exposure/requires-identity.ts';
import type { Rule } from '../rule.ts';
import { coversUri } from '../text-match.ts';

/** What this change opens that was not open before it. Silent without a state to compare with. */
export const newExposure: Rule = {
  code: 'MP102',
  name: 'new-exposure',
  severity: 'warning',
  title: 'A route or host becomes reachable through a gateway and was not before',
  fix: 'If it is intended to be public, record that in a suppression; otherwise remove `gateways` or require an identity.',
  *check(context) {
    const { base } = context;
    if (!base) return;
    const before = new Map<string, Exposure[]>();
    for (const exposure of base.exposures) {
      const open = openGateways(base.mesh, exposure);
      if (open.length > 0) collect(before, exposure, { ...exposure, gateways: open });
    }
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

function collect(map: Map<string, Exposure[]>, exposure: Exposure, value: Exposure): void {
  const known = map.get(keyOf(exposure));
  if (known) known.push(value);
  else map.set(keyOf(exposure), [value]);
}

function keyOf({ destination, protocol }: Exposure): string {
  return `${protocol} ${destination.host} ${destination.subset ?? ''} ${destination.port ?? ''}`;
}

/** Whether everything that an exposure lets through was let through by the older one. */
function includes(old: Exposure, now: Exposure): boolean {
  const hosts = now.hosts.every((host) => old.hosts.some((one) => coversHost(one, host)));
  if (!hosts || old.matches.length === 0) return hosts;
  return now.matches.length > 0 && now.matches.every((match) => old.matches.some((one) => coversMatch(one, match)));
}

function coversMatch(wide: HttpMatch, narrow: HttpMatch): boolean {
  const within = (outer: unknown, inner: unknown) =>
    Object.entries(record<StringMatch>(outer)).every(
      ([name, value]) => JSON.stringify(value) === JSON.stringify(record(inner)[name]),
    );
  const method = !wide.method || JSON.stringify(wide.method) === JSON.stringify(narrow.method);
  return (
    method &&
    coversUri(wide.uri, narrow.uri) &&
    within(wide.headers, narrow.headers) &&
    within(wide.queryParams, narrow.queryParams)
  );
}
