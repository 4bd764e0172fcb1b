/** The kinds for inbound traffic and routing, from Istio's `networking.istio.io` and `extensions.istio.io`. */
import type { CustomObject, Item } from './custom.ts';

export type Gateway = CustomObject<'Gateway'>;
export type GatewayServer = Item<Gateway['spec']['servers']>;

export type VirtualService = CustomObject<'VirtualService'>;
export type HttpRoute = Item<VirtualService['spec']['http']>;
export type HttpMatch = Item<HttpRoute['match']>;
/** A StringMatch, in which at most one field is set. */
export type StringMatch = NonNullable<HttpMatch['uri']>;
export type WeightedDestination = Item<HttpRoute['route']>;
export type Destination = NonNullable<WeightedDestination['destination']>;
export type L4Match = Item<Item<VirtualService['spec']['tls' | 'tcp']>['match']>;

export type DestinationRule = CustomObject<'DestinationRule'>;
export type TrafficPolicy = NonNullable<DestinationRule['spec']['trafficPolicy']>;
export type ClientTls = NonNullable<TrafficPolicy['tls']>;

export type ServiceEntry = CustomObject<'ServiceEntry'>;
export type Sidecar = CustomObject<'Sidecar'>;
export type EnvoyFilter = CustomObject<'EnvoyFilter'>;

/** An extension that runs custom code in proxies: a `WasmPlugin`, or a `TrafficExtension` for Lua or WebAssembly. */
export type ProxyExtension = CustomObject<'WasmPlugin'> | CustomObject<'TrafficExtension'>;
