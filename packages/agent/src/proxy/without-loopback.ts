/**
 * What a container may not reach through the workspace's proxy: the workspace itself. A bridge keeps containers from its loopback, where
 * databases and tools listen that ask for no password because only the workspace's own programs come there.
 */
import type { JsonObject } from '@bufbuild/protobuf';
import { TYPE_URL_PREFIX } from '@meshpass/envoy';

/** By RFC 6890; `::` and 0.0.0.0 are connected to as the loopback, and so is IPv4 mapped into IPv6. */
const OWN_NETWORKS = [
  ['127.0.0.0', 8],
  ['0.0.0.0', 8],
  ['::', 127],
  ['::ffff:127.0.0.0', 104],
  ['::ffff:0.0.0.0', 104],
] as const;

/** @returns an HTTP filter for behind the one that resolves names, which keeps the address that a name has */
export function withoutLoopback(): JsonObject {
  return {
    name: 'meshpass.without_loopback',
    typed_config: {
      '@type': `${TYPE_URL_PREFIX}envoy.extensions.filters.http.rbac.v3.RBAC`,
      rules: {
        action: 'DENY',
        policies: {
          // Part of the reason that `meshpass status` shows.
          'loopback-of-the-workspace': {
            principals: [{ any: true }],
            permissions: OWN_NETWORKS.map(([address_prefix, prefix_len]) => ({
              matcher: {
                name: 'envoy.rbac.matchers.upstream_ip_port',
                typed_config: {
                  '@type': `${TYPE_URL_PREFIX}envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher`,
                  upstream_ip: { address_prefix, prefix_len },
                },
              },
            })),
          },
        },
      },
    },
  };
}
