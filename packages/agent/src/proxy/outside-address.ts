/**
 * Restricts which hosts outside the mesh can be reached from containers: they must not reach addresses of this machine.
 * A bridge separates containers from the workspace's loopback interface, where databases and tools listen without a
 * password because only the workspace's own programs can connect. Requests through the proxy originate from the
 * workspace itself, so the addresses of its interfaces are refused as well. Envoy asks the agent (ext_authz) and only
 * connects to the address in the response. Envoy's own resolver is not suitable, because it tries every address of a
 * name while a filter only sees the first.
 */
import { Resolver } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { JsonObject, Message } from '@bufbuild/protobuf';
import { AGENT_CLUSTER, messageFromJson } from '@meshpass/envoy';
import { httpFilter, typedConfig } from '../envoy/json.ts';
import { code } from '../xds/http-filters.ts';

const EXT_AUTHZ = 'envoy.filters.http.ext_authz';
const ADDRESS = 'address';
const TIMEOUT_MS = 3_000;
/** The timeout in Envoy, which is longer than all of the resolver's attempts together. */
const ENVOY_WAITS = '15s';
const MAX_LOOKUPS = 256;
/** The gRPC status code `google.rpc.Code.PERMISSION_DENIED`. */
const PERMISSION_DENIED = 7;

/**
 * The addresses of the machine itself (RFC 6890). Connections to `::` and 0.0.0.0 reach the loopback interface, and so
 * do connections to IPv4-mapped IPv6 addresses, which BlockList recognizes. Cloud providers serve the machine's
 * credentials on link-local addresses. Azure also uses 168.63.129.16 for this, and AWS uses fd00:ec2::254.
 */
const OWN_NETWORKS = new BlockList();
OWN_NETWORKS.addSubnet('127.0.0.0', 8, 'ipv4');
OWN_NETWORKS.addSubnet('0.0.0.0', 8, 'ipv4');
OWN_NETWORKS.addSubnet('169.254.0.0', 16, 'ipv4');
OWN_NETWORKS.addAddress('168.63.129.16', 'ipv4');
OWN_NETWORKS.addSubnet('::', 127, 'ipv6');
OWN_NETWORKS.addSubnet('fe80::', 10, 'ipv6');
OWN_NETWORKS.addAddress('fd00:ec2::254', 'ipv6');

/**
 * The parts of `Resolver` from node:dns/promises that are used here. A resolver does not read the hosts file, which
 * lists the workspace's own services.
 */
export interface NameResolver {
  resolve4(name: string): Promise<readonly string[]>;
  resolve6(name: string): Promise<readonly string[]>;
}

/**
 * The type of `networkInterfaces` from node:os. The function is called for each request, because bridges come and go.
 */
export type ListInterfaces = typeof networkInterfaces;

/**
 * A resolver that reads the machine's list of DNS servers for each lookup. A plain `Resolver` would keep using the
 * servers that it read first, even after the workspace was suspended and resumed.
 */
const systemResolver: NameResolver = {
  resolve4: (name) => openResolver().resolve4(name),
  resolve6: (name) => openResolver().resolve6(name),
};

export type OutsideAddress =
  | { readonly address: string }
  | { readonly status: 'Forbidden' | 'BadGateway' | 'ServiceUnavailable'; readonly reason: string };

/**
 * Builds the HTTP filter that asks the agent for an address. It is only enabled on routes that have
 * `addressCheckRouteConfig`.
 */
export function addressFilter(): JsonObject {
  const filter = httpFilter('ext_authz', 'ExtAuthz', {
    transport_api_version: 'V3',
    grpc_service: { envoy_grpc: { cluster_name: AGENT_CLUSTER }, timeout: ENVOY_WAITS },
    status_on_error: { code: 'BadGateway' },
    // No headers are sent, because the agent only needs the host of a request.
    disallowed_headers: { patterns: [{ safe_regex: { regex: '.*' } }] },
  });
  return { ...filter, disabled: true };
}

/** The `typed_per_filter_config` for routes to `outsideCluster`. */
export const addressCheckRouteConfig: JsonObject = {
  [EXT_AUTHZ]: typedConfig('extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute', { check_settings: {} }),
};

/**
 * Builds a cluster that connects to the address in the agent's response. If there is no address, no connection is made.
 */
export function outsideCluster(name: string): JsonObject {
  return {
    name,
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    connect_timeout: '10s',
    original_dst_lb_config: { metadata_key: { key: EXT_AUTHZ, path: [{ key: ADDRESS }] } },
  };
}

/** Creates the handler for `envoy.service.auth.v3.Authorization.Check`. */
export function createAddressCheckHandler(
  resolver: NameResolver = systemResolver,
  interfaces: ListInterfaces = networkInterfaces,
): (requests: AsyncIterable<Message>) => AsyncGenerator<Message> {
  let lookups = 0;
  return async function* (requests) {
    for await (const request of requests) {
      const { host = '' } = (request as CheckRequest).attributes?.request?.http ?? {};
      if (lookups >= MAX_LOOKUPS) {
        yield answer(host, { status: 'ServiceUnavailable', reason: `${MAX_LOOKUPS} lookups are already in progress` });
        continue;
      }
      lookups += 1;
      try {
        yield answer(host, await resolveOutsideAddress(host, resolver, interfaces));
      } finally {
        lookups -= 1;
      }
    }
  };
}

/**
 * Resolves the host of a request exactly once.
 * @param authority a `HOST` or `HOST:PORT`
 * @returns the address and port to connect to, or the reason for a refusal. A name is refused if any of its addresses
 *   belongs to this machine
 */
export async function resolveOutsideAddress(
  authority: string,
  resolver: NameResolver,
  interfaces: ListInterfaces = networkInterfaces,
): Promise<OutsideAddress> {
  if (!URL.canParse(`http://${authority}`)) return { status: 'BadGateway', reason: 'it is not a valid host' };
  // The URL parser normalizes IPv4 addresses. For example, it converts 2130706433 to 127.0.0.1.
  const { hostname, port } = new URL(`http://${authority}`);
  const host = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
  const addresses = isIP(host) === 0 ? await resolve(host, resolver) : [host];
  const ownInterfaces = new BlockList();
  for (const { address, family } of Object.values(interfaces()).flatMap((all) => all ?? []))
    ownInterfaces.addAddress(address, family === 'IPv6' ? 'ipv6' : 'ipv4');
  const own = addresses.find((one) =>
    [OWN_NETWORKS, ownInterfaces].some((list) => list.check(one, isIP(one) === 6 ? 'ipv6' : 'ipv4')),
  );
  if (own !== undefined)
    return {
      status: 'Forbidden',
      reason: `${own} is an address of the workspace itself, which containers cannot reach`,
    };
  const [address] = addresses;
  if (address === undefined) return { status: 'BadGateway', reason: 'the name does not resolve to an address' };
  return { address: `${isIP(address) === 6 ? `[${address}]` : address}:${port || '80'}` };
}

function openResolver(): Resolver {
  return new Resolver({ timeout: TIMEOUT_MS, tries: 2 });
}

/**
 * Resolves a name. IPv4 is preferred because bridges support it. IPv6 addresses are only used if there are no others.
 */
async function resolve(name: string, resolver: NameResolver): Promise<readonly string[]> {
  const none = (): readonly string[] => [];
  const addresses = await resolver.resolve4(name).catch(none);
  return addresses.length > 0 ? addresses : await resolver.resolve6(name).catch(none);
}

function answer(host: string, found: OutsideAddress): Message {
  if ('address' in found)
    return messageFromJson('envoy.service.auth.v3.CheckResponse', {
      status: {},
      ok_response: {},
      dynamic_metadata: { [ADDRESS]: found.address },
    });
  return messageFromJson('envoy.service.auth.v3.CheckResponse', {
    status: { code: PERMISSION_DENIED },
    denied_response: {
      status: { code: found.status },
      headers: [code('agent_direct_unreachable')],
      body: `meshpass: cannot reach ${host}: ${found.reason}.\n`,
    },
  });
}

interface CheckRequest extends Message {
  readonly attributes?: { readonly request?: { readonly http?: { readonly host?: string } } };
}
