/**
 * Reads the access logs of Istio gateways and sidecars. Parses the fields of a line, finds the workload ports whose
 * proxies may have written it, and reconstructs the call as far as the line describes it. Sources: "Envoy Access Logs"
 * (JSON encoding) in Istio's documentation, and "Access logging" in Envoy's.
 */

import { record, text } from '@meshpass/istio/members';
import { parseCidr } from '../../address.ts';
import type { Endpoint } from '../../diff/endpoint.ts';
import type { Call } from '../../diff/formula/call.ts';
import { type Condition, testsOf } from '../../diff/formula/condition.ts';
import { evaluateThreeValued } from '../../routes/opaque.ts';

/** The fields of a log line. A log format may leave out any of them. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The fields that identify the host or the destination. A line that has none of them is not an access log line. */
const FIELDS = ['authority', 'upstream_cluster', 'requested_server_name'];

/** Parses a line of an access log. Returns undefined if it is not a JSON access log line. */
export function parseLogFields(line: string): LogFields | undefined {
  try {
    const fields: LogFields = record(JSON.parse(line));
    return FIELDS.some((name) => Object.hasOwn(fields, name)) ? fields : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the text of a field. Returns undefined for `null` and `-`, which Envoy writes when a value is missing. */
export function logFieldText(value: unknown): string | undefined {
  const found = text(value);
  return found === undefined || found === '-' || found === '' ? undefined : found;
}

/** Returns the path without its query string, because policies compare paths without it. */
export function pathOf(fields: LogFields): string | undefined {
  return logFieldText(fields.path)?.replace(/[?#].*$/s, '');
}

/** Matches the response code details that a proxy logs when it rejects a caller. */
const REFUSED = /^(?:rbac_access_denied|jwt_authn_access_denied|ext_authz_denied)/;

/** Returns the reason why a proxy rejected the call or connection, or undefined if it did not reject it. */
export function refusalOf(fields: LogFields): string | undefined {
  return [fields.response_code_details, fields.connection_termination_details]
    .map(logFieldText)
    .find((details) => details !== undefined && REFUSED.test(details));
}

export interface LoggedPlace {
  readonly endpoints: readonly Endpoint[];
  /** Whether the line can only have been written by the proxies of these workloads. */
  readonly isCertain: boolean;
}

/**
 * Creates a function that finds out where a log line was written. In a sidecar's log, the Service is identified by the
 * server name that Istio clients send, or else by the host. If both are missing, the line could belong to any workload
 * with that port. Lines about outbound calls do not identify the proxy. They come from a gateway if the host is outside
 * the mesh and the caller's address was added (`x_forwarded_for`).
 */
export function createLogLocator(all: readonly Endpoint[]): (fields: LogFields) => LoggedPlace {
  const [http, tcp] = [indexOf(all, 'http'), indexOf(all, 'tcp')];
  return (fields) => {
    const index = logFieldText(fields.method) === undefined ? tcp : http;
    const [direction = '', number, , host] = (logFieldText(fields.upstream_cluster) ?? '').split('|');
    const sent = SENT.exec(logFieldText(fields.requested_server_name) ?? '')?.[1];
    const named = serviceIn((logFieldText(fields.authority) ?? '').replace(/:\d+$/, ''));
    if (direction.startsWith('inbound') || (direction === '' && sent !== undefined)) {
      const service = serviceIn(host || sent || '') ?? named;
      return inbound(index, service, Number(number || portIn(fields)));
    }
    const isGateway = direction === 'outbound' && logFieldText(fields.x_forwarded_for) !== undefined;
    return { endpoints: index.gateways, isCertain: isGateway && !index.byService.has(named ?? '') };
  };
}

/** The server name that Istio clients send: `outbound_.PORT_.SUBSET_.HOST`. Source: `BuildDNSSrvSubsetKey` in Istio. */
const SENT = /^outbound_\.\d+_\.[^_]*_\.(.+)$/;

function inbound({ byService, byPort }: Index, service: string | undefined, port: number): LoggedPlace {
  const known = [...new Set(byService.get(service ?? '')?.map(({ endpoint }) => endpoint))];
  if (known.length === 0) return { endpoints: byPort.get(port) ?? [], isCertain: false };
  const atPort = known.filter((one) => one.port === port);
  return { endpoints: atPort.length > 0 ? atPort : known, isCertain: true };
}

function portIn(fields: LogFields): string | undefined {
  return /:(\d+)$/.exec(logFieldText(fields.downstream_local_address) ?? '')?.[1];
}

/**
 * Returns the Service that a host refers to: `orders.shop` for both `orders.shop.svc.cluster.local` and `orders.shop`.
 */
function serviceIn(host: string): string | undefined {
  return /^([^.]+\.[^.]+)(?:\.svc(?:\..+)?)?$/.exec(host.toLowerCase())?.[1];
}

type Index = ReturnType<typeof indexOf>;

function indexOf(all: readonly Endpoint[], protocol: Endpoint['protocol']) {
  const endpoints = all.filter((one) => one.protocol === protocol);
  const named = endpoints.flatMap((endpoint) =>
    endpoint.services.map((one) => ({ service: one.replace(/:\d+$/, ''), endpoint })),
  );
  return {
    gateways: endpoints.filter(({ workload }) => workload.kind === 'gateway'),
    byService: Map.groupBy(named, ({ service }) => service),
    byPort: Map.groupBy(endpoints, ({ port }) => port),
  };
}

/**
 * A call, reconstructed from the fields in a log line. If a field is known but has no value, the call did not have it.
 */
export interface LoggedCall {
  readonly call: Call;
  /** The fields of the formula whose values are logged. */
  readonly known: ReadonlySet<string>;
}

/** Matches paths that Envoy normalizes, by decoding or merging parts, before policies compare them. */
const CHANGED = /%|\/\/|\\|\/\.\.?(?:\/|$)/;

/**
 * Reconstructs a call from the fields in a log line.
 * @param isRewritten whether any route rewrites paths, in which case a sidecar logs the original path
 *   (`x-envoy-original-path`)
 */
export function loggedCall(fields: LogFields, isRewritten: boolean): LoggedCall {
  const has = (name: string) => Object.hasOwn(fields, name);
  const path = pathOf(fields);
  const peer = has(PEER) ? peerFields(logFieldText(fields[PEER])) : [];
  const texts: readonly (readonly [string, string | undefined])[] = [
    ...(has('method') ? [['method', logFieldText(fields.method)] as const] : []),
    ...(has('authority') ? [['host', logFieldText(fields.authority)?.toLowerCase()] as const] : []),
    ...(has('path') && !isRewritten && !CHANGED.test(path ?? '') ? [['path', path] as const] : []),
    ...(has('requested_server_name') ? [['connection.sni', logFieldText(fields.requested_server_name)] as const] : []),
    ...peer,
  ];
  const addresses = ADDRESSES.flatMap(([name, field]) => {
    const address = logFieldText(fields[name])?.replace(/^\[?(.*?)\]?:\d+$/, '$1');
    return address !== undefined && parseCidr(address) ? [[field, address] as const] : [];
  });
  return {
    call: {
      flags: new Set(peer.some(([, value]) => value !== undefined) ? ['peer'] : []),
      texts: new Map(texts.flatMap(([field, value]) => (value === undefined ? [] : [[field, value] as const]))),
      lists: new Map(),
      addresses: new Map(addresses),
    },
    known: new Set([...texts, ...addresses, ...(peer.length > 0 ? [['peer']] : [])].map(([field]) => field!)),
  };
}

const ADDRESSES = [
  ['downstream_remote_address', 'remote.ip'],
  ['downstream_direct_remote_address', 'source.ip'],
  ['downstream_local_address', 'destination.ip'],
] as const;

/** The field for `%DOWNSTREAM_PEER_URI_SAN%`. It is not part of Istio's default log format. */
const PEER = 'downstream_peer_uri_san';

function peerFields(name: string | undefined): readonly (readonly [string, string | undefined])[] {
  const parts = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/,]+)$/.exec(name ?? '');
  if (name !== undefined && !parts) return [];
  return [
    ['peer.trustDomain', parts?.[1]],
    ['peer.namespace', parts?.[2]],
    ['peer.account', parts?.[3]],
  ];
}

/** Evaluates a formula for a logged call. Returns undefined if the result depends on fields that are not in the log. */
export function evaluateLoggedCall({ call, known }: LoggedCall, condition: Condition): boolean | undefined {
  const truth = evaluateThreeValued(call, condition, (field) => (known.has(field) ? undefined : describe(field)));
  return typeof truth === 'boolean' ? truth : undefined;
}

/** Describes the fields that a formula depends on but that are missing from the log. */
export function listMissingFields({ known }: LoggedCall, condition: Condition): readonly string[] {
  return [...testsOf(condition, new Set())]
    .filter(({ field }) => !known.has(field))
    .map(({ field }) => describe(field));
}

function describe(field: string): string {
  if (/^peer(?:\.|$)/.test(field)) return `the identity of the caller (${PEER})`;
  if (field.startsWith('token.')) return 'claims of the token';
  if (field.startsWith('header:')) return `the header ${field.slice('header:'.length)}`;
  if (field === 'source.ip') return 'the address of the connection (downstream_direct_remote_address)';
  return field === 'path' ? 'the path that policies compare' : field;
}
