/**
 * The rules for the addresses that Envoy listens on or connects to, and for its configuration sources. Each of them
 * must be equal to one of a few fixed messages.
 */
import { toBinary } from '@bufbuild/protobuf';
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { isServiceAddress } from '@meshpass/identity';
import { AGENT_CONFIG_SOURCE } from '../agent-source.ts';
import { messageFromJson, messageType } from '../types.ts';
import { type Check, part, scalar } from './rule.ts';

const ADDRESS = 'envoy.config.core.v3.Address';
const CONFIG_SOURCE = 'envoy.config.core.v3.ConfigSource';

const byAds = bytesOf(CONFIG_SOURCE, { ads: {}, resource_api_version: 'V3' });
const byAdsAtOnce = bytesOf(CONFIG_SOURCE, { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' });
const ofAgent = bytesOf(CONFIG_SOURCE, AGENT_CONFIG_SOURCE);

/** Checks that a configuration source is ADS, the stream that the agent serves. */
export const adsSource: Check<ReflectMessage> = (source) =>
  same(source, byAds) || same(source, byAdsAtOnce) ? undefined : 'configuration may only come from ADS';

/** Whether a configuration source is the agent, which serves certificates and roots. */
export function isAgentSource(source: ReflectMessage): boolean {
  return same(source, ofAgent);
}

/** Checks that an address is a TCP socket on one of the service addresses. */
export const serviceAddress: Check<ReflectMessage> = (address) => {
  const socket = part(address, 'socket_address');
  if (!socket) return 'only TCP sockets are accepted as listeners';
  const host = scalar<string>(socket, 'address');
  const port = scalar<number>(socket, 'port_value');
  // The rest of the loopback range is reserved for the developer.
  if (!isServiceAddress(host)) return 'listeners are only accepted on 127.64.0.0/10';
  if (port < 1 || port > 65_535) return 'a listener requires a port';
  const plainSocket = bytesOf(ADDRESS, { socket_address: { address: host, port_value: port } });
  return same(address, plainSocket) ? undefined : 'a listener must consist of only an address and a port';
};

/**
 * Checks that an address is an internal listener of the same Envoy. Endpoints can therefore never be network addresses.
 */
export const internalAddress: Check<ReflectMessage> = (address) => {
  const internal = part(address, 'envoy_internal_address');
  if (!internal) return 'endpoints are accepted only behind the tunnel, by the name of an internal listener';
  const name = scalar<string>(internal, 'server_listener_name');
  const id = scalar<string>(internal, 'endpoint_id');
  const expected = bytesOf(ADDRESS, { envoy_internal_address: { server_listener_name: name, endpoint_id: id } });
  return same(address, expected) ? undefined : 'an endpoint must consist of only an internal listener and an id';
};

function same(message: ReflectMessage, bytes: Uint8Array): boolean {
  return Buffer.compare(toBinary(message.desc, message.message), bytes) === 0;
}

function bytesOf(type: string, json: Parameters<typeof messageFromJson>[1]): Uint8Array {
  const message = messageFromJson(type, json);
  return toBinary(messageType(type), message);
}
