/**
 * Builds the HTTP filters that the agent adds to every cluster that leads into a tunnel. They run for each attempt of a
 * request, after its route has rewritten, redirected or mirrored it. The identity token therefore belongs to the
 * cluster's grant, just like the certificate, and a route that ends in the workspace cannot read it. Upstream filters
 * modify the same header map as the listener, so the token is present while response headers are formatted. For this
 * reason, no format may contain the token header (packages/envoy).
 */
import type { JsonObject, Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { AGENT_CONFIG_SOURCE, messageFromJson, pack, unpack } from '@meshpass/envoy';
import { extension, httpFilter, typedConfig } from '../envoy/json.ts';
import { NO_CREDENTIAL, tokenSecretName } from '../sds/secrets.ts';

const HTTP_FILTER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter';
const PROTOCOL_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const REFUSE = 'meshpass.refuse';

/** The last filter of the chain, which sends the request. */
const CODEC = httpFilter('upstream_codec', 'UpstreamCodec');

/**
 * Refuses requests on routes that have REFUSING_FILTER_CONFIG. It uses a credential that is always empty, so Envoy
 * opens a connection for the request but does not send anything. On all other routes, the filter is disabled.
 */
const REFUSER = { ...injector(REFUSE, NO_CREDENTIAL, 'x-meshpass-none'), disabled: true };

/**
 * The `typed_per_filter_config` of a route that refuses requests. An empty configuration enables the filter (see
 * `FilterConfig.config`).
 */
export const REFUSING_FILTER_CONFIG: JsonObject = {
  [REFUSE]: typedConfig('config.route.v3.FilterConfig', { config: {} }),
};

/** The upstream filters of a router whose clusters do not have any. */
export const REFUSING_FILTERS = [REFUSER, CODEC];

/**
 * Builds a filter that sets a header to the value of a secret. If the secret is empty, the filter responds with 401.
 */
function injector(name: string, secret: string, header: string): JsonObject {
  const generic = 'http.injected_credentials.generic';
  return extension(name, 'extensions.filters.http.credential_injector.v3.CredentialInjector', {
    overwrite: true,
    credential: extension(`envoy.${generic}`, `extensions.${generic}.v3.Generic`, {
      credential: { name: secret, sds_config: AGENT_CONFIG_SOURCE },
      header,
    }),
  });
}

/**
 * Adds the upstream filters to a cluster that leads into a tunnel. Other clusters are left unchanged. The message is
 * modified in place.
 * @param header the header for the mesh's identity token
 */
export function withUpstreamFilters<T extends Message>(message: T, header: string): T {
  const cluster = message as unknown as ClusterMessage;
  if (!leadsIntoTunnel(cluster)) return message;
  const grant = cluster.name.split('/')[0]!; // already validated as a grant of the session
  const given = cluster.typedExtensionProtocolOptions[PROTOCOL_OPTIONS];
  const options = (
    given ? unpack(given) : messageFromJson(PROTOCOL_OPTIONS, { explicit_http_config: { http_protocol_options: {} } })
  ) as OptionsMessage;
  for (const filter of [REFUSER, injector('meshpass.token', tokenSecretName(grant), header), CODEC])
    options.httpFilters.push(messageFromJson(HTTP_FILTER, filter));
  cluster.typedExtensionProtocolOptions[PROTOCOL_OPTIONS] = pack(options);
  return message;
}

/**
 * Returns whether a cluster leads into a tunnel. If more than one grant includes a port, a cluster may instead lead to
 * another listener of the workspace, which does not send the request yet.
 */
function leadsIntoTunnel({ loadAssignment }: ClusterMessage): boolean {
  return (loadAssignment?.endpoints ?? []).some(({ lbEndpoints }) =>
    lbEndpoints.some(({ hostIdentifier: { value } }) => {
      const { addressNameSpecifier: name } = value?.address?.address.value ?? {};
      return name?.value?.startsWith('tunnel/') === true;
    }),
  );
}

// The fields of Envoy messages that are used here. They are declared because the generated types only support
// reflection.
interface OptionsMessage extends Message {
  readonly httpFilters: Message[];
}
interface Endpoint {
  readonly address?: {
    readonly address: { readonly value?: { readonly addressNameSpecifier?: { readonly value?: string } } };
  };
}
interface ClusterMessage {
  readonly name: string;
  readonly loadAssignment?: {
    readonly endpoints: readonly {
      readonly lbEndpoints: readonly { readonly hostIdentifier: { readonly value?: Endpoint } }[];
    }[];
  };
  readonly typedExtensionProtocolOptions: Record<string, Any>;
}
