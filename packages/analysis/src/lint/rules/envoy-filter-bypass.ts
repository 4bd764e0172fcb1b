import type { Path } from '@meshpass/istio';
import { items, record, text } from '@meshpass/istio/members';
import type { Report, Rule } from '../rule.ts';

const GUARDS = [
  'envoy.filters.http.rbac',
  'envoy.filters.network.rbac',
  'envoy.filters.http.jwt_authn',
  'envoy.filters.http.ext_authz',
  'istio_authn',
  'istio.authn',
];
const EARLY = new Set(['INSERT_FIRST', 'INSERT_BEFORE']);
/** Filters that can answer or change a call by themselves; rate limits and telemetry cannot let anybody in. */
const ANSWERS = /lua|wasm|golang|ext_proc|header_mutation|router|direct_response|dynamic_forward_proxy|cors/;

/** An EnvoyFilter writes into Envoy past everything that Istio checks. */
export const envoyFilterBypass: Rule = {
  code: 'MP502',
  name: 'envoy-filter-bypass',
  severity: 'error',
  title: 'An EnvoyFilter removes or weakens the filters that enforce policy, or is inserted before them',
  fix: "Insert after `envoy.filters.http.rbac`, give the EnvoyFilter a workloadSelector, and use Istio's own resources where they exist.",
  *check(context) {
    for (const filter of context.mesh.all('EnvoyFilter')) {
      const selected =
        Object.keys(record(filter.spec.workloadSelector?.labels)).length > 0 ||
        items(filter.spec.targetRefs).length > 0;
      const where = selected
        ? 'these workloads'
        : filter.metadata.namespace === context.mesh.config.rootNamespace
          ? 'every proxy of the mesh'
          : `every proxy of namespace ${filter.metadata.namespace}`;
      for (const [index, { applyTo, match, patch }] of items(filter.spec.configPatches).entries()) {
        const at: Path = ['spec', 'configPatches', index];
        const operation = text(patch?.operation) ?? '';
        const value = JSON.stringify(patch?.value ?? {});
        const matched = JSON.stringify(match ?? {});
        const say = (path: Path, message: string): Report => ({
          on: filter,
          path: [...at, ...path],
          part: path.at(-1) === 'value' ? 'key' : 'value',
          message: `${message} on ${where}.`,
        });
        const guard = GUARDS.find((one) => matched.includes(`"${one}"`));
        if (guard && (operation === 'REMOVE' || operation === 'REPLACE')) {
          yield say(['patch', 'operation'], `${operation} takes ${guard} away: its policies are not enforced`);
        } else if (guard && operation === 'MERGE') {
          yield say(
            ['patch', 'operation'],
            `MERGE changes ${guard}: what it enforces is no longer what the policies say`,
          );
        } else if (/"disabled":true/.test(value) && GUARDS.some((one) => value.includes(one))) {
          yield say(['patch', 'value'], 'a route switches the policy filter off for itself');
        } else if (
          applyTo === 'HTTP_FILTER' &&
          goesFirst(operation, matched, match) &&
          ANSWERS.test(value.toLowerCase())
        ) {
          const name = text(record(patch?.value).name) ?? 'this filter';
          yield say(
            ['patch', 'operation'],
            `${name} comes before the policy filters: it answers and changes calls before anybody is asked who he is`,
          );
        } else if (
          (applyTo === 'LISTENER' && operation === 'ADD') ||
          (applyTo === 'FILTER_CHAIN' && operation === 'ADD')
        ) {
          yield say(
            ['applyTo'],
            `a ${applyTo === 'LISTENER' ? 'listener' : 'filter chain'} of its own has none of Istio's policy filters`,
          );
        } else if (
          /"x-meshpass-|"x-forwarded-client-cert"|forward_client_cert_details|use_remote_address|xff_num_trusted_hops|normalize_path/.test(
            value,
          )
        ) {
          yield say(['patch', 'value'], 'this changes what identity, address or path the policies see');
        }
      }
    }
  },
};

/** Before the policy filters: first, or before one of them, or before the first filter that is matched by the listener only. */
function goesFirst(operation: string, matched: string, match: unknown): boolean {
  if (!EARLY.has(operation)) return false;
  if (operation === 'INSERT_FIRST') return true;
  const context = text(record(match).context);
  if (GUARDS.some((one) => matched.includes(`"${one}"`))) return true;
  // Outbound listeners have no policy filters; before the router is after them.
  return context !== 'SIDECAR_OUTBOUND' && !matched.includes('subFilter');
}
