import { type EnvoyFilter, identityOf, type Path } from '@meshpass/istio';
import { items, record, text } from '@meshpass/istio/members';
import { filterTypes } from '../../exposure/patches.ts';
import type { Rule } from '../rule.ts';

const GUARDS = [
  'envoy.filters.http.rbac',
  'envoy.filters.network.rbac',
  'envoy.filters.http.jwt_authn',
  'envoy.filters.http.ext_authz',
  'istio_authn',
  'istio.authn',
];
/** Effects of operations on a policy filter. */
const ON_GUARD = new Map<string, (guard: string) => string>([
  ['REMOVE', (guard) => `REMOVE removes ${guard}, so its policies are not enforced`],
  ['REPLACE', (guard) => `REPLACE removes ${guard}, so its policies are not enforced`],
  ['MERGE', (guard) => `MERGE changes ${guard}, which then no longer enforces the policies as written`],
]);
/** Additions that no policy filter guards. */
const UNGUARDED = new Map([
  ['LISTENER', 'listener'],
  ['FILTER_CHAIN', 'filter chain'],
]);
const SEEN_BY_POLICIES =
  /"x-meshpass-|"x-forwarded-client-cert"|forward_client_cert_details|use_remote_address|xff_num_trusted_hops|normalize_path/;
const EARLY = new Set(['INSERT_FIRST', 'INSERT_BEFORE']);
/** Filters that can answer or change a call by themselves. Rate limits and telemetry cannot allow a call. */
const ANSWERS =
  /(?:^envoy|\bfilters?\.http)\.(?:lua|wasm|golang|ext_proc|header_mutation|router|direct_response|dynamic_forward_proxy|cors)(?:\.|$)/;

type ConfigPatch = NonNullable<EnvoyFilter['spec']['configPatches']>[number];

/** An EnvoyFilter changes Envoy without any of Istio's checks. */
export const envoyFilterBypass: Rule = {
  code: 'MP502',
  name: 'envoy-filter-bypass',
  severity: 'error',
  title: 'An EnvoyFilter removes or weakens the filters that enforce policy, or is inserted before them',
  fix: "Insert after `envoy.filters.http.rbac`, give the EnvoyFilter a workloadSelector, and use Istio's own resources where they exist.",
  *check(context) {
    // MP703 reports listeners of gateways with the destination.
    const exposed = new Set(
      context.exposures
        .filter(({ on }) => on.kind === 'EnvoyFilter')
        .map(({ on, path }) => `${identityOf(on)} ${path.at(-1)} applyTo`),
    );
    for (const filter of context.mesh.all('EnvoyFilter')) {
      const where = proxiesOf(filter, context.mesh.config.rootNamespace);
      for (const [index, patch] of items(filter.spec.configPatches).entries()) {
        const [path, effect] = weakens(patch) ?? [];
        if (!path || exposed.has(`${identityOf(filter)} ${index} ${path.join()}`)) continue;
        yield {
          on: filter,
          path: ['spec', 'configPatches', index, ...path],
          part: path.at(-1) === 'value' ? 'key' : 'value',
          message: `${effect} on ${where}.`,
        };
      }
    }
  },
};

function proxiesOf({ spec, metadata }: EnvoyFilter, rootNamespace: string): string {
  const labelled = Object.keys(record(spec.workloadSelector?.labels)).length > 0;
  if (labelled || items(spec.targetRefs).length > 0) return 'these workloads';
  return metadata.namespace === rootNamespace
    ? 'every proxy of the mesh'
    : `every proxy of namespace ${metadata.namespace}`;
}

/** Returns the field of a patch that weakens the policy filters, and its effect. */
function weakens({ applyTo = '', match, patch }: ConfigPatch): readonly [Path, string] | undefined {
  const operation = text(patch?.operation) ?? '';
  const value = JSON.stringify(patch?.value ?? {});
  const matched = JSON.stringify(match ?? {});
  const guard = GUARDS.find((one) => matched.includes(`"${one}"`));
  const onGuard = guard && ON_GUARD.get(operation);
  if (onGuard) return [['patch', 'operation'], onGuard(guard)];
  if (/"disabled":true/.test(value) && GUARDS.some((one) => value.includes(one))) {
    return [['patch', 'value'], 'a route disables the policy filter for itself'];
  }
  const early = applyTo === 'HTTP_FILTER' && goesFirst(operation, matched, match);
  if (early && filterTypes(patch?.value).some((one) => ANSWERS.test(one))) {
    const name = text(record(patch?.value).name) ?? 'this filter';
    return [
      ['patch', 'operation'],
      `${name} precedes the policy filters, so it can answer and change calls before the caller is authenticated`,
    ];
  }
  const added = operation === 'ADD' ? UNGUARDED.get(applyTo) : undefined;
  if (added) return [['applyTo'], `a ${added} added by an EnvoyFilter has none of Istio's policy filters`];
  return SEEN_BY_POLICIES.test(value)
    ? [['patch', 'value'], 'this changes the identity, address or path that the policies see']
    : undefined;
}

/**
 * Whether a patch inserts a filter before the policy filters: first, before one of them, or before the first filter of
 * a listener.
 */
function goesFirst(operation: string, matched: string, match: unknown): boolean {
  if (!EARLY.has(operation)) return false;
  if (operation === 'INSERT_FIRST') return true;
  const context = text(record(match).context);
  if (GUARDS.some((one) => matched.includes(`"${one}"`))) return true;
  // Outbound listeners have no policy filters, and a position before the router is after them.
  return context !== 'SIDECAR_OUTBOUND' && !matched.includes('subFilter');
}
