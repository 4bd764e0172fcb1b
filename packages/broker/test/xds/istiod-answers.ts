/** Answers of a lab's istiod to a relay with five granted services, and ways to change them. */
import { readFileSync } from 'node:fs';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageFromJson, pack, toProtoJson, unpack } from '@meshpass/envoy';
import { grantConfiguration } from '../../src/mesh/xds/transform/grant-configuration.ts';
import { createGrantedServices, type GrantedService } from '../../src/mesh/xds/transform/granted.ts';
import { type GrantSetConfiguration, mergeGrants } from '../../src/mesh/xds/transform/merge.ts';
import type { RawResources } from '../../src/mesh/xds/transform/resources.ts';

export type Answers = Record<'clusters' | 'endpoints' | 'listeners' | 'routes', JsonObject[]>;

const TYPES = {
  clusters: 'envoy.config.cluster.v3.Cluster',
  endpoints: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
  listeners: 'envoy.config.listener.v3.Listener',
  routes: 'envoy.config.route.v3.RouteConfiguration',
} as const;

/** Reads a new copy each time. */
export function istiodAnswers(): Answers {
  return JSON.parse(readFileSync(new URL('./istiod-answers.json', import.meta.url), 'utf8')) as Answers;
}

export function rawOf(answers: Answers): RawResources {
  const packed = (kind: keyof Answers) =>
    new Map(answers[kind].map((json): [string, Any] => [nameIn(json), pack(messageFromJson(TYPES[kind], json))]));
  return {
    clusters: packed('clusters'),
    endpoints: packed('endpoints'),
    listeners: packed('listeners'),
    routes: packed('routes'),
  };
}

export function nameIn(json: JsonObject): string {
  return String(json.cluster_name ?? json.name);
}

export function jsonOf(any: Any): JsonObject {
  return toProtoJson(unpack(any)!) as JsonObject;
}

const service = (
  name: string,
  port: number,
  protocol: GrantedService['protocol'],
  address: string,
  ...clusterIps: string[]
): GrantedService => ({
  host: `${name}.shop.svc.cluster.local`,
  port,
  protocol,
  address,
  clusterIps,
  aliases: [`${name}.shop.svc`, `${name}.shop`],
});

export const ORDERS = service('orders', 8080, 'http', '127.64.0.1', '10.96.1.10');
export const LEDGER = service('ledger-db', 5432, 'tcp', '127.64.0.2', '10.96.1.11');
export const HEADLESS = service('headless', 5433, 'tcp', '127.64.0.3');
/** Service whose port declares no protocol, so proxies detect it. */
export const CATALOG = service('undecl', 9090, 'http', '127.64.0.4', '10.96.1.77');
export const ALL = [ORDERS, LEDGER, HEADLESS];

export function grant(services: readonly GrantedService[], name = 'dev') {
  return createGrantedServices({ grant: name, services, ...MESH });
}

const MESH = { trustDomain: 'cluster.local', clusterDomain: 'cluster.local', tokenHeader: 'x-meshpass-token' };
export const EXPECTED = { ...MESH, grants: ['dev', 'sre'] };
export const ORDERS_CLUSTER = 'outbound|8080||orders.shop.svc.cluster.local';
export const ORDERS_ROUTES = '8080';
export const ORDERS_LISTENER = '0.0.0.0_8080';

/** Configuration that a workspace gets for the grant `dev`. */
export function transformed(change: (answers: Answers) => void = () => {}, services: readonly GrantedService[] = ALL) {
  const answers = istiodAnswers();
  change(answers);
  return mergeGrants([grantConfiguration(rawOf(answers), grant(services))]);
}

export function find(resources: GrantSetConfiguration['clusters'], name: string): JsonObject {
  const found = resources.map(jsonOf).find((json) => nameIn(json) === name);
  if (!found) throw new Error(`no ${name} among ${resources.map((any) => nameIn(jsonOf(any))).join(', ')}`);
  return found;
}

/** A member of istiod's answer, by path, to be changed; -1 is the last of a list. */
export function at(json: JsonValue, ...path: (string | number)[]): Record<string, JsonValue> {
  return path.reduce<JsonValue>(
    (value, key) => (key === -1 ? (value as JsonValue[]).at(-1)! : (value as Record<string | number, JsonValue>)[key]!),
    json,
  ) as Record<string, JsonValue>;
}
export const named = (all: JsonObject[], name: string): JsonObject => all.find((one) => nameIn(one) === name)!;
export const text = (set: GrantSetConfiguration) =>
  [...set.listeners, ...set.clusters, ...set.routes].map((any) => JSON.stringify(jsonOf(any))).join('\n');
export const managerOf = (listener: JsonObject) => at(listener, 'filter_chains', 0, 'filters', 0, 'typed_config');
