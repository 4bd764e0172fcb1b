/**
 * Authentication that Istio's policies do not show: filters that an EnvoyFilter adds to a proxy, such as a sign-in by
 * OAuth 2. Whether they refuse a call depends on their own configuration, so the answer for such a proxy is unknown.
 */
import { type MeshView, type ProxyExtension, selectorOf, selects, targetRefs, type Workload } from '@meshpass/istio';
import { items, labels, record, text } from '@meshpass/istio/members';
import { describeObject } from '../describe.ts';

/** HTTP filters that can refuse a caller without credentials. Source: Envoy's reference of HTTP filters. */
const AUTHENTICATING =
  /envoy\.(?:filters|extensions\.filters)\.http\.(?:oauth2|ext_authz|basic_auth|api_key_auth|jwt_authn)\b/;
const ADDS = new Set(['ADD', 'INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST', 'REPLACE']);

/** Proxy of a gateway, or a stand-in with the labels that the gateway's selector has. */
type GatewayProxy = Pick<Workload, 'namespace' | 'labels'> & {
  /** Name of the Gateway in `targetRefs`, if it is one of the Gateway API. */
  readonly gateway?: string;
};

/**
 * Explains which filter of a gateway may require an identity, such as `EnvoyFilter istio-ingress/oauth2 adds
 * envoy.filters.http.oauth2`. Returns undefined if Istio's policies alone decide.
 */
export function foreignAuthentication(mesh: MeshView, proxy: GatewayProxy): string | undefined {
  const reaches = (one: Parameters<typeof targetRefs>[0], selector: Readonly<Record<string, string>> | undefined) => {
    const refs = targetRefs(one);
    if (refs.length > 0) return refs.some(({ kind, name }) => kind === 'Gateway' && name === proxy.gateway);
    return selects(selector, proxy.labels);
  };
  for (const namespace of new Set([proxy.namespace, mesh.config.rootNamespace])) {
    for (const filter of mesh.within('EnvoyFilter', namespace)) {
      if (!reaches(filter.spec, labels(filter.spec.workloadSelector?.labels))) continue;
      const added = items(filter.spec.configPatches).map(authenticatingFilter).find(Boolean);
      if (added) return `${describeObject(filter)} adds ${added}`;
    }
    const plugin = (['WasmPlugin', 'TrafficExtension'] as const)
      .flatMap((kind): readonly ProxyExtension[] => mesh.within(kind, namespace))
      .find((one) => isAuthenticating(one) && reaches(one.spec, selectorOf(one)));
    if (plugin) return `${describeObject(plugin)} runs in phase ${text(plugin.spec.phase)}`;
  }
  return undefined;
}

/** Returns the name of the filter that a patch adds at gateways, if it authenticates. */
function authenticatingFilter({
  applyTo,
  match,
  patch,
}: {
  readonly applyTo?: string;
  readonly match?: { readonly context?: string };
  readonly patch?: { readonly operation?: string; readonly value?: unknown };
}): string | undefined {
  if (applyTo !== 'HTTP_FILTER' || !ADDS.has(text(patch?.operation) ?? '')) return undefined;
  if (match?.context === 'SIDECAR_INBOUND' || match?.context === 'SIDECAR_OUTBOUND') return undefined;
  const { name } = record(patch?.value);
  // The type decides; the name may be any text.
  const found = AUTHENTICATING.exec(JSON.stringify(record(patch?.value)))?.[0];
  return found && (text(name) ?? found);
}

/** Whether an extension runs among the authentication or authorization filters. */
function isAuthenticating({ spec }: ProxyExtension): boolean {
  return spec.phase === 'AUTHN' || spec.phase === 'AUTHZ';
}
