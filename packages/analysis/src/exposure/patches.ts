/**
 * Finds EnvoyFilters and extensions that change proxies, and the checks that they add. Their effect is not evaluated
 * (docs/decisions/0019-unknown.md). Source: the EnvoyFilter reference.
 */
import {
  type EnvoyFilter,
  GATEWAY_NAME,
  type Labels,
  type MeshView,
  type ProxyExtension,
  selectorOf,
  selects,
  targetRefs,
  type Workload,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';
import { describeObject } from './describe.ts';
import { isPod } from './enforcer.ts';
import type { Identity } from './exposure.ts';

type ConfigPatch = NonNullable<EnvoyFilter['spec']['configPatches']>[number];
export type Patch = EnvoyFilter | ProxyExtension;

/** The kind of proxy that a patch applies to: a gateway, or a workload's sidecar for inbound calls. */
type PatchContext = 'GATEWAY' | 'SIDECAR_INBOUND';

/**
 * Lists the objects that change a proxy. This includes objects that may select Pods that are not in the files.
 * @param isCertain whether to leave out objects that might not select the proxy
 */
export function patchesAt(
  mesh: MeshView,
  position: PatchContext,
  proxy: Pick<Workload, 'namespace' | 'labels'>,
  isCertain = false,
): readonly Patch[] {
  const name = proxy.labels[GATEWAY_NAME];
  const isMeant = (given: Labels) =>
    isCertain || isPod(proxy)
      ? selects(given, proxy.labels)
      : Object.entries(given).every(([label, value]) => (proxy.labels[label] ?? value) === value);
  return [...new Set([mesh.config.rootNamespace, proxy.namespace])].flatMap((place) =>
    patchesIn(mesh, position, place).filter((one) => {
      const targets = targetRefs(one.spec);
      if (targets.length === 0) return isMeant(selectorAt(one));
      return targets.some((target) =>
        target.kind === 'Gateway'
          ? target.name === name
          : !isCertain && target.kind === 'GatewayClass' && name !== undefined,
      );
    }),
  );
}

/**
 * Lists the objects that could change a gateway whose Pods are not in the files.
 * @param home the namespace in which the Pods are assumed to be
 * @param selector the selector of the Pods, or undefined if the files do not contain it either
 */
export function possiblePatches(mesh: MeshView, home: string, selector: Labels | undefined): readonly Patch[] {
  if (!selector) {
    return [...new Set([mesh.config.rootNamespace, home])].flatMap((place) => patchesIn(mesh, 'GATEWAY', place));
  }
  const places = new Set(KINDS.flatMap((kind) => mesh.all(kind).map(({ metadata }) => metadata.namespace)));
  return [...places].flatMap((place) =>
    patchesIn(mesh, 'GATEWAY', place).filter((one) => {
      const given = Object.entries(selectorAt(one));
      return (
        given.some(([name, value]) => selector[name] === value) &&
        given.every(([name, value]) => (selector[name] ?? value) === value)
      );
    }),
  );
}

const KINDS = ['EnvoyFilter', 'WasmPlugin', 'TrafficExtension'] as const;

function patchesIn(mesh: MeshView, position: PatchContext, place: string): readonly Patch[] {
  const filters = mesh
    .within('EnvoyFilter', place)
    .filter(({ spec }) => items(spec.configPatches).some((patch) => isAt(patch, position)));
  return [...filters, ...mesh.within('WasmPlugin', place), ...mesh.within('TrafficExtension', place)];
}

function isAt({ applyTo, match }: ConfigPatch, position: PatchContext): boolean {
  return applyTo !== 'CLUSTER' && ['ANY', position].includes(match?.context ?? 'ANY');
}

function selectorAt(one: Patch): Labels {
  return labels(one.kind === 'EnvoyFilter' ? one.spec.workloadSelector?.labels : selectorOf(one));
}

/** Matches the Envoy HTTP filters that can authenticate or reject a call. */
const CHECKS =
  /(?:^envoy|\bfilters?\.http)\.(?:oauth2|jwt_authn|ext_authz|lua|wasm|ext_proc|golang|basic_auth|api_key_auth|rbac)(?:\.|$)/;

/**
 * Describes an authentication or authorization check that an EnvoyFilter or extension adds to the given proxies. The
 * files do not show what the check decides. Returns undefined if there is none.
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
      ? items(one.spec.configPatches).some((patch) => isAt(patch, position) && addsCheck(patch))
      : isCheck(one) && appliesAt(one, position, ports),
  );
  if (!found) return undefined;
  return `${describeObject(found)} ${found.kind === 'EnvoyFilter' ? 'adds a filter that may require one' : 'may require one'}`;
}

function addsCheck({ applyTo, patch }: ConfigPatch): boolean {
  return (
    applyTo === 'HTTP_FILTER' &&
    /^(?:ADD|INSERT_\w+|REPLACE)$/.test(text(patch?.operation) ?? '') &&
    filterTypes(patch?.value).some((one) => CHECKS.test(one))
  );
}

function isCheck({ spec }: ProxyExtension): boolean {
  return /^AUTH[NZ]$/.test(String(spec.phase));
}

/**
 * Checks whether an extension applies at this position. Gateways count as clients. Source:
 * `workloadModeForListenerClass` in pilot/pkg/model/extensions.go of Istio.
 */
function appliesAt({ spec }: ProxyExtension, position: PatchContext, known: readonly number[]): boolean {
  const own = position === 'GATEWAY' ? 'CLIENT' : 'SERVER';
  const isAmong = (ports: readonly { readonly number?: number }[]) =>
    ports.length === 0 || known.length === 0 || ports.some(({ number }) => known.includes(number ?? 0));
  const matches = items(spec.match);
  return (
    matches.length === 0 ||
    matches.some(
      ({ mode = 'UNDEFINED', ports }) =>
        ['UNDEFINED', 'CLIENT_AND_SERVER', own].includes(mode) && isAmong(items(ports)),
    )
  );
}

/** Explains which object could add listeners to gateways. Returns undefined if there is no such object. */
export function whyMoreListeners(mesh: MeshView): string | undefined {
  const found = mesh
    .all('EnvoyFilter')
    .find(({ spec }) =>
      items(spec.configPatches).some((patch) => patch.applyTo === 'LISTENER' && isAt(patch, 'GATEWAY')),
    );
  return found && `${describeObject(found)} changes listeners`;
}

/**
 * Downgrades a required or assumed identity to unknown if some object could make the proxy accept more calls.
 * @param isOwn whether the identity is independent of policies, so that filters ahead of the policy filters do not
 *   matter
 */
export function unknownIfWidened(
  found: Identity,
  position: PatchContext,
  patches: () => readonly Patch[],
  isOwn = false,
): Identity {
  if (found.state !== 'required' && found.state !== 'assumed') return found;
  const byPolicies = found.state === 'required' && !isOwn;
  const patch = patches().find((one) => mayWidenAccess(one, position, byPolicies));
  return patch
    ? { state: 'unknown', reason: `${describeObject(patch)} changes the proxy, which may then accept more calls` }
    : found;
}

/** Checks whether an object could make a proxy accept more calls. */
export function mayWidenAccess(one: Patch, position: PatchContext, byPolicies: boolean): boolean {
  if (one.kind !== 'EnvoyFilter') return byPolicies && isCheck(one);
  return items(one.spec.configPatches)
    .filter((patch) => isAt(patch, position))
    .some((patch) => !adds(patch) || (byPolicies && patch.applyTo === 'HTTP_FILTER' && precedesPolicies(patch)));
}

/**
 * Checks whether a patch only adds a filter, or a route that is safe to add. Such a route is subject to policies like
 * any other, and it is reported as an exposure of its own.
 */
function adds({ applyTo, patch }: ConfigPatch): boolean {
  if (!/^(?:ADD|INSERT_(?:FIRST|BEFORE|AFTER))$/.test(text(patch?.operation) ?? '')) return false;
  if (applyTo === 'HTTP_FILTER') return true;
  const isRoute = applyTo === 'HTTP_ROUTE' || applyTo === 'VIRTUAL_HOST';
  return isRoute && !UNGUARDED.test(JSON.stringify(patch?.value ?? {}));
}

/** Matches the fields of a route that change its filters or hide its destination. */
const UNGUARDED = /"[^"]*(?:filter_?config|cluster_?header|cluster_?specifier)[^"]*":/i;

/** Matches HTTP filters that can only reject calls, or that change nothing that policies evaluate. */
const REFUSES =
  /(?:^envoy|\bfilters?\.http)\.(?:oauth2|jwt_authn|ext_authz|basic_auth|api_key_auth|rbac|ratelimit|local_ratelimit|rate_limit_quota|admission_control|csrf|buffer|compressor|decompressor|grpc_stats)(?:\.|$)/;

/**
 * Checks whether a filter could change calls before policies evaluate them. Filters that are inserted before the router
 * filter, or added at the end of the chain, run after the policies.
 */
function precedesPolicies({ match, patch }: ConfigPatch): boolean {
  const operation = text(patch?.operation) ?? '';
  const { filterChain } = record(record(match).listener);
  const { subFilter } = record(record(filterChain).filter);
  if (operation === 'ADD') return false;
  if (operation === 'INSERT_BEFORE' && record(subFilter).name === 'envoy.filters.http.router') return false;
  const types = filterTypes(patch?.value);
  return types.length === 0 || !types.every((one) => REFUSES.test(one));
}

/**
 * Lists the types of an Envoy filter. If the filter has no type, returns its name, which can otherwise be arbitrary.
 */
export function filterTypes(value: unknown): readonly string[] {
  const { name, typed_config: typed, config_discovery: discovered } = record(value);
  const { '@type': type, type_url: inner } = record(typed);
  const types = [type, inner, ...texts(record(discovered).type_urls as never)].filter((one) => one !== undefined);
  return (types.length > 0 ? types : [name]).map(String);
}
