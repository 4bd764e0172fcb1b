/** Checks of where Envoy listens, connects to, and gets more configuration from: each is one of a few fixed messages. */
import { toBinary } from '@bufbuild/protobuf';
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { isServiceAddress } from '@meshpass/identity/service-address';
import { AGENT_CLUSTER, AGENT_SOURCE } from '../agent-source.ts';
import { messageOf, messageType } from '../types.ts';
import { type Check, part, plain, scalar } from './rule.ts';

const ADDRESS = 'envoy.config.core.v3.Address';
const CONFIG_SOURCE = 'envoy.config.core.v3.ConfigSource';
const GRPC_SERVICE = 'envoy.config.core.v3.GrpcService';

const byAds = bytesOf(CONFIG_SOURCE, { ads: {}, resource_api_version: 'V3' });
const byAdsAtOnce = bytesOf(CONFIG_SOURCE, { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' });
const ofAgent = bytesOf(CONFIG_SOURCE, AGENT_SOURCE);
const agentService = bytesOf(GRPC_SERVICE, { envoy_grpc: { cluster_name: AGENT_CLUSTER } });

/** Routes come on the stream that the agent serves, as everything else. */
export const adsSource: Check<ReflectMessage> = (source) =>
  same(source, byAds) || same(source, byAdsAtOnce) ? undefined : 'configuration may only come from ADS';

/** Certificates and roots come from the agent. */
export function isAgentSource(source: ReflectMessage): boolean {
  return same(source, ofAgent);
}

export const agentGrpc: Check<ReflectMessage> = (service) =>
  same(service, agentService) ? undefined : 'gRPC services but the agent are not accepted';

/** A TCP socket on an address of a service. */
export const serviceAddress: Check<ReflectMessage> = (address) => {
  const socket = part(address, 'socket_address');
  if (!socket) return 'only TCP sockets are accepted as listeners';
  const host = scalar<string>(socket, 'address');
  const port = scalar<number>(socket, 'port_value');
  // The rest of the loopback range is the developer's.
  if (!isServiceAddress(host)) return 'listeners are accepted on 127.64.0.0/10 only';
  if (port < 1 || port > 65_535) return 'a listener needs a port';
  const plainSocket = bytesOf(ADDRESS, { socket_address: { address: host, port_value: port } });
  return same(address, plainSocket) ? undefined : 'a listener is an address and a port, nothing else';
};

/** Another listener of this Envoy: there is no way to an address. */
export const internalAddress: Check<ReflectMessage> = (address) => {
  const internal = part(address, 'envoy_internal_address');
  if (!internal) return 'endpoints are accepted only behind the tunnel, by the name of an internal listener';
  const name = scalar<string>(internal, 'server_listener_name');
  const id = scalar<string>(internal, 'endpoint_id');
  const expected = bytesOf(ADDRESS, { envoy_internal_address: { server_listener_name: name, endpoint_id: id } });
  return same(address, expected) ? undefined : 'an endpoint is an internal listener and an id, nothing else';
};

function same(message: ReflectMessage, bytes: Uint8Array): boolean {
  return Buffer.compare(toBinary(message.desc, plain(message)), bytes) === 0;
}

function bytesOf(type: string, json: Parameters<typeof messageOf>[1]): Uint8Array {
  const message = messageOf(type, json);
  return toBinary(messageType(type), message);
}
