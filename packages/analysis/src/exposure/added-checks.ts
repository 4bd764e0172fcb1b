/**
 * Finds authentication and authorization checks that EnvoyFilters and extensions add to proxies. The files do not show
 * what these checks decide.
 */

import type { EnvoyFilter, MeshView, ProxyExtension, Workload } from '@meshpass/istio';
import { items, text } from '@meshpass/istio/members';
import { describeObject } from './describe.ts';
import { filterTypes, type PatchContext, patchesAt } from './patches.ts';

/** Matches the Envoy HTTP filters that can authenticate or reject a call. */
const CHECKS =
  /(?:^envoy|\bfilters?\.http)\.(?:oauth2|jwt_authn|ext_authz|lua|wasm|ext_proc|golang|basic_auth|api_key_auth|rbac)(?:\.|$)/;

/**
 * Describes a check that an EnvoyFilter or extension adds to the given proxies. Returns undefined if there is none.
 * @param ports the possible ports, or an empty list if they are unknown
 */
export function findAddedCheck(
  mesh: MeshView,
  position: PatchContext,
  proxy: Pick<Workload, 'namespace' | 'labels'>,
  ports: readonly number[] = [],
): string | undefined {
  const found = patchesAt(mesh, position, proxy, true).find((one) =>
    one.kind === 'EnvoyFilter'
      ? items(one.spec.configPatches).some((patch) => adds(patch, position))
      : /^AUTH[NZ]$/.test(String(one.spec.phase)) && isAt(one, position, ports),
  );
  if (!found) return undefined;
  return `${describeObject(found)} ${found.kind === 'EnvoyFilter' ? 'adds a filter that may require one' : 'may require one'}`;
}

function adds(
  { applyTo, match, patch }: NonNullable<EnvoyFilter['spec']['configPatches']>[number],
  position: PatchContext,
): boolean {
  const context = match?.context ?? 'ANY';
  if (applyTo !== 'HTTP_FILTER' || (context !== 'ANY' && context !== position)) return false;
  return (
    /^(?:ADD|INSERT_\w+|REPLACE)$/.test(text(patch?.operation) ?? '') &&
    filterTypes(patch?.value).some((one) => CHECKS.test(one))
  );
}

/**
 * Checks whether an extension applies at this position. Gateways count as clients. Source:
 * `workloadModeForListenerClass` in pilot/pkg/model/extensions.go of Istio.
 */
function isAt({ spec }: ProxyExtension, position: PatchContext, known: readonly number[]): boolean {
  const own = position === 'GATEWAY' ? 'CLIENT' : 'SERVER';
  const matches = items(spec.match);
  return (
    matches.length === 0 ||
    matches.some(
      ({ mode = 'UNDEFINED', ports }) =>
        ['UNDEFINED', 'CLIENT_AND_SERVER', own].includes(mode) && isAmong(items(ports), known),
    )
  );
}

function isAmong(ports: readonly { readonly number?: number }[], known: readonly number[]): boolean {
  return ports.length === 0 || known.length === 0 || ports.some(({ number }) => known.includes(number ?? 0));
}
