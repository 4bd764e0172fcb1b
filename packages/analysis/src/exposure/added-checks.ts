/** Checks that EnvoyFilters and extensions add to proxies. The files do not show what they decide. */

import {
  type EnvoyFilter,
  GATEWAY_NAME,
  type MeshView,
  type ProxyExtension,
  selectorOf,
  selects,
  targetRefs,
  type Workload,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';

/** HTTP filters of Envoy that can authenticate or refuse a call. */
const CHECKS =
  /(?:^envoy|\bfilters?\.http)\.(?:oauth2|jwt_authn|ext_authz|lua|wasm|ext_proc|golang|basic_auth|api_key_auth|rbac)(?:\.|$)/;

/** Proxies by their position: those of gateways, or those of workloads. */
type Position = 'GATEWAY' | 'SIDECAR_INBOUND';

/**
 * Describes a check that an object adds to the proxies with these labels.
 * @param ports alternatives; empty if they are not known
 */
export function addedCheck(
  mesh: MeshView,
  position: Position,
  { namespace, labels: given }: Pick<Workload, 'namespace' | 'labels'>,
  ports: readonly number[] = [],
): string | undefined {
  const places = [...new Set([mesh.config.rootNamespace, namespace])];
  const isMeant = ({ spec }: EnvoyFilter | ProxyExtension, selector: unknown): boolean => {
    const targets = targetRefs(spec);
    if (targets.length > 0) return targets.some(({ kind, name }) => kind === 'Gateway' && name === given[GATEWAY_NAME]);
    return selects(labels(selector), given);
  };
  for (const place of places) {
    const filter = mesh
      .within('EnvoyFilter', place)
      .find(
        (one) =>
          isMeant(one, one.spec.workloadSelector?.labels) &&
          items(one.spec.configPatches).some((patch) => adds(patch, position)),
      );
    if (filter) return `EnvoyFilter ${place}/${filter.metadata.name} adds a filter that may require one`;
    const extension = (['WasmPlugin', 'TrafficExtension'] as const)
      .flatMap((kind): readonly ProxyExtension[] => mesh.within(kind, place))
      .find(
        (one) =>
          isMeant(one, selectorOf(one)) && /^AUTH[NZ]$/.test(String(one.spec.phase)) && isAt(one, position, ports),
      );
    if (extension) return `${extension.kind} ${place}/${extension.metadata.name} may require one`;
  }
  return undefined;
}

function adds(
  { applyTo, match, patch }: NonNullable<EnvoyFilter['spec']['configPatches']>[number],
  position: Position,
): boolean {
  const context = match?.context ?? 'ANY';
  if (applyTo !== 'HTTP_FILTER' || (context !== 'ANY' && context !== position)) return false;
  return (
    /^(?:ADD|INSERT_\w+|REPLACE)$/.test(text(patch?.operation) ?? '') &&
    filterTypes(patch?.value).some((one) => CHECKS.test(one))
  );
}

/** Lists the types of a filter in Envoy's configuration. The name is free if the configuration has a type. */
export function filterTypes(value: unknown): readonly string[] {
  const { name, typed_config: typed, config_discovery: discovered } = record(value);
  const { '@type': type, type_url: inner } = record(typed);
  const types = [type, inner, ...texts(record(discovered).type_urls as never)].filter((one) => one !== undefined);
  return (types.length > 0 ? types : [name]).map(String);
}

/**
 * Whether an extension is for calls at this position: a gateway counts as a client. Source: `workloadModeForListenerClass`
 * in pilot/pkg/model/extensions.go of Istio.
 */
function isAt({ spec }: ProxyExtension, position: Position, known: readonly number[]): boolean {
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
