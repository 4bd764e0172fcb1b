/**
 * Collects the latest refusals from Envoy's access log, along with the hop that refused and its reason, if known. The
 * entries come from the agent's own Envoy, but they contain paths and responses from programs and from the mesh, so all
 * text is truncated and sanitized.
 */
import type { Message } from '@bufbuild/protobuf';
import { toProtoJson } from '@meshpass/envoy';
import { type ErrorCode, isErrorCode, plainText } from '@meshpass/identity';
import { type Hop, isReportableId, reportedMethod } from '@meshpass/identity/refusal-report';
import type { ReachableService } from '@meshpass/identity/wire';
import { CONNECT_RESPONSE_KEY, ERROR_CODE_HEADER } from './loggers.ts';
import type { RefusalReport } from './report.ts';

export interface Refusal {
  /** When the refusal occurred, in Unix milliseconds. */
  readonly at: number;
  readonly hop: Hop;
  /** The attempted call, such as `GET orders.shop:8080/admin`. For a TCP connection, this is just the service. */
  readonly what: string;
  /** The HTTP status, if there was a response. */
  readonly status?: number;
  /** The Meshpass error code (see docs/troubleshooting.md), if the hop sent one. */
  readonly code?: ErrorCode;
  /** The reason for the refusal, as reported by Envoy or Meshpass. */
  readonly reason: string;
  /** The ID of the edge's decision in the broker's audit log. */
  readonly decision?: string;
  /** The request ID, which also appears in the response and in the audit log. */
  readonly request?: string;
  /** The arguments for `meshpass explain`. Absent for TCP connections and if the URL is too long. */
  readonly call?: { readonly method: string; readonly url: string };
  /** How many times in a row the refusal occurred. */
  readonly count: number;
}

const KEPT = 20;
const LONGEST = 200;
/** The maximum length of a URL. Longer URLs are omitted, because a truncated path would be a different path. */
const LONGEST_URL = 2_000;
/**
 * Error codes that do not count as refusals: either there was no response, or the request's credentials had expired.
 */
const FAILURES: readonly (string | undefined)[] = ['agent_edge_unreachable', 'agent_credentials_expired'];
/**
 * The response statuses that may come from a workload's sidecar. All other statuses come from the workload's program.
 */
const REFUSED = [401, 403];
/** Failures that were caused by the caller or by a VirtualService's fault injection. */
const NO_REFUSAL = [
  ...['downstream_connection_termination', 'downstream_protocol_error', 'downstream_remote_reset'],
  ...['fault_injected', 'delay_injected'],
];

export interface RefusalLogOptions {
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
  readonly report: RefusalReport;
  /**
   * Returns the services that are in use. Only refusals from these services are reported, so names that a program made
   * up never reach the broker.
   */
  readonly services: () => readonly ReachableService[];
  /** The port that the loopback proxy listens on. It is the same on each of its addresses. */
  readonly proxyPort: number;
}

/** Explanations for responses that come directly from a route, by error code. They replace Envoy's generic reason. */
const ANSWERS: Readonly<Record<string, string>> = {
  agent_service_unknown: 'no grant includes it',
  agent_route_not_granted: 'its route leads to a service outside the grant',
  agent_route_unsupported: 'its route requires a feature that workspaces do not support',
};

/** Envoy does not report why it rejected the edge's certificate, so the reason is always the same. */
const EDGE_NOT_BELIEVED = "this workspace does not trust the edge's certificate; run meshpass doctor to see why";

/** A refusal as it is in the access log. */
interface Found extends Omit<Refusal, 'at' | 'count'> {
  /** The `HOST:PORT` of a service, or the `ADDRESS:PORT` of its listener. */
  readonly at: string;
  readonly method?: string;
}

export class RefusalLog {
  readonly #options: RefusalLogOptions;
  #last: Refusal[] = [];

  constructor(options: RefusalLogOptions) {
    this.#options = options;
  }

  /** The latest refusals, starting with the newest. */
  get last(): readonly Refusal[] {
    return this.#last;
  }

  /** @param message an `envoy.service.accesslog.v3.StreamAccessLogsMessage` */
  take(message: Message): void {
    const { logEntries: entries } = message as LoggedEntries;
    for (const entry of entries.value?.logEntry ?? []) {
      // Entries that cannot be decoded are skipped. This log is only used to explain refusals, never to make decisions.
      const json = asJsonOrNothing(entry);
      const found = json && (entries.case === 'httpLogs' ? this.#ofRequest(json) : ofConnection(json));
      if (found) this.#add(found);
    }
  }

  /**
   * Parses the log entry of a request. Requests that the proxy has forwarded are ignored: they are either logged by the
   * service's own listener, or they were answered by a host outside the mesh.
   */
  #ofRequest(entry: HttpEntry): Found | undefined {
    const { address, port_value: port } = entry.common_properties?.downstream_local_address?.socket_address ?? {};
    const isByProxy =
      port === this.#options.proxyPort && !this.#options.services().some((one) => one.address === address);
    const isPassedOn = isByProxy && entry.response?.response_code_details === 'via_upstream';
    return isPassedOn ? undefined : ofRequest(entry);
  }

  #report({ at, method, hop, status, code, decision, request }: Found): void {
    if (code === undefined || FAILURES.includes(code)) return;
    const { report, services } = this.#options;
    const service = services().find(
      ({ host, address, port }) => at === `${address}:${port}` || at === `${host}:${port}`,
    );
    if (!service) return;
    const { host, port } = service;
    const isRefusal = status !== undefined && status >= 400 && status <= 599;
    const asked = method === undefined ? {} : { method: reportedMethod(method) };
    report.add({ hop, host, port, code, ...asked, ...(isRefusal && { status }) }, decision ?? request);
  }

  #add(one: Found): void {
    this.#report(one);
    const { at: _at, method: _method, ...found } = one;
    const newest = this.#last[0];
    const again = newest && newest.what === found.what && newest.hop === found.hop && newest.reason === found.reason;
    const count = again ? newest.count + 1 : 1;
    this.#last = [{ ...found, at: this.#options.now(), count }, ...this.#last.slice(again ? 1 : 0)].slice(0, KEPT);
  }
}

function ofRequest(entry: HttpEntry): Found | undefined {
  const { request = {}, response = {}, common_properties: common = {} } = entry;
  const method = request.request_method ?? 'GET';
  const path = (request.original_path || request.path || '').split('?')[0]!;
  const { response_code: status, response_code_details: details = '', response_headers: headers = {} } = response;
  const code = headers[ERROR_CODE_HEADER];
  const failed = Object.keys(common.response_flags ?? {});
  const hop = hopOf(details, code, status, failed);
  if (!hop) return undefined;
  const target = `${request.authority ?? ''}${path}`;
  const url = `http://${target}`;
  return {
    hop,
    method,
    at: listenerOf(common),
    what: short(`${method} ${target}`),
    ...(status === undefined ? {} : { status }),
    ...(isErrorCode(code) ? { code } : {}),
    reason: short(hop === 'workload' ? `answered ${status}` : wordsOf(details, code) || failed.join(', ')),
    ...(isReportableId(common.stream_id) ? { request: common.stream_id } : {}),
    ...(URL.canParse(url) && url.length <= LONGEST_URL ? { call: { method, url } } : {}),
  };
}

/** Returns the hop that refused a request, or undefined if the request was not refused. */
function hopOf(
  details: string,
  code: string | undefined,
  status: number | undefined,
  failed: readonly string[],
): Hop | undefined {
  if (details === 'via_upstream' || code === 'agent_policy_refused')
    return code === undefined && !REFUSED.includes(status ?? 0) ? undefined : 'workload';
  // A VirtualService may also respond directly, without forwarding the request to an upstream.
  const byRule =
    details === 'direct_response' || (failed.length > 0 && failed.every((one) => NO_REFUSAL.includes(one)));
  if (code === undefined && byRule) return undefined;
  return isOnTheWay(failed) ? 'mesh' : 'workspace';
}

/** Returns the `ADDRESS:PORT` of a listener. If the listener has no socket, the address is parsed from its name. */
function listenerOf({
  downstream_local_address: { socket_address: socket, envoy_internal_address: internal } = {},
}: Common): string {
  if (socket) return `${socket.address ?? ''}:${socket.port_value ?? 0}`;
  const [, address = '', port = '0'] = /\/([0-9.]+)_([0-9]+)$/.exec(internal?.server_listener_name ?? '') ?? [];
  return `${address}:${port}`;
}

function wordsOf(details: string, code: string | undefined): string {
  return (details === 'direct_response' && ANSWERS[code ?? '']) || details;
}

function ofConnection(entry: TcpEntry): Found {
  const { common_properties: common = {} } = entry;
  const name = common.tls_properties?.tls_sni_hostname ?? common.upstream_cluster ?? '';
  const headers = common.filter_state_objects?.[CONNECT_RESPONSE_KEY]?.headers ?? [];
  const answered = (name: string) => headers.find(({ key }) => key === name)?.value;
  const code = answered('meshpass-error-code');
  const decision = answered('meshpass-decision-id');
  const failed = Object.keys(common.response_flags ?? {});
  const transport = common.upstream_transport_failure_reason ?? '';
  const isEdgeRefused = common.upstream_cluster?.startsWith('edge/') && transport.includes('CERTIFICATE_VERIFY_FAILED');
  const reason = isEdgeRefused
    ? EDGE_NOT_BELIEVED
    : transport || common.connection_termination_details || failed.join(', ');
  const service = serviceOf(name);
  return {
    at: service,
    hop: code !== undefined || isOnTheWay(failed) ? 'edge' : 'workspace',
    what: short(service),
    ...(isErrorCode(code) ? { code } : {}),
    reason: short(reason || 'the connection failed'),
    ...(decision !== undefined && /^[A-Za-z0-9_-]{1,64}$/.test(decision) ? { decision } : {}),
  };
}

/**
 * Converts a name such as `outbound_.8080_.v2_.orders.shop.svc.cluster.local` to `orders.shop.svc.cluster.local:8080`.
 */
function serviceOf(name: string): string {
  const [, port, host] = /outbound[_|]\.?([0-9]+)[_|]\.?[^|]*?[_|]\.?([a-z0-9.-]+)$/.exec(name) ?? [];
  return host === undefined ? name : `${host}:${port}`;
}

function isOnTheWay(flags: readonly string[]): boolean {
  return flags.some((flag) => flag.startsWith('upstream_') || flag === 'failed_local_healthcheck');
}

function short(text: string): string {
  return plainText(text.slice(0, LONGEST));
}

function asJsonOrNothing(entry: Message): (HttpEntry & TcpEntry) | undefined {
  try {
    return toProtoJson(entry) as HttpEntry & TcpEntry;
  } catch {
    return undefined;
  }
}

interface LoggedEntries extends Message {
  readonly logEntries: {
    readonly case?: 'httpLogs' | 'tcpLogs';
    readonly value?: { readonly logEntry: readonly Message[] };
  };
}

interface Common {
  readonly response_flags?: Readonly<Record<string, unknown>>;
  readonly tls_properties?: { readonly tls_sni_hostname?: string };
  readonly downstream_local_address?: {
    readonly socket_address?: { readonly address?: string; readonly port_value?: number };
    readonly envoy_internal_address?: { readonly server_listener_name?: string };
  };
  readonly upstream_cluster?: string;
  readonly stream_id?: string;
  readonly upstream_transport_failure_reason?: string;
  readonly connection_termination_details?: string;
  /** The headers, in the format of `envoy.config.core.v3.HeaderMap`. */
  readonly filter_state_objects?: Readonly<
    Record<string, { readonly headers?: readonly { readonly key: string; readonly value?: string }[] }>
  >;
}

interface HttpEntry {
  readonly common_properties?: Common;
  readonly request?: {
    readonly request_method?: string;
    readonly authority?: string;
    readonly path?: string;
    readonly original_path?: string;
  };
  readonly response?: {
    readonly response_code?: number;
    readonly response_code_details?: string;
    readonly response_headers?: Readonly<Record<string, string>>;
  };
}

interface TcpEntry {
  readonly common_properties?: Common;
}
