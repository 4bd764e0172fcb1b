/**
 * The last refusals, from Envoy's access log: which hop refused, and why as far as it said. What it reads comes from the agent's own
 * Envoy, but paths and answers in it come from programs and from the mesh: everything is cut and made plain.
 */
import type { Message } from '@bufbuild/protobuf';
import { asJson } from '@meshpass/envoy';
import { isErrorCode } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import { CODE_HEADER, CONNECT_ANSWER } from './loggers.ts';

/** Who refused: this workspace's Envoy, the edge, something between edge and workload, or the workload itself. */
export type Hop = 'workspace' | 'edge' | 'mesh' | 'workload';

export interface Refusal {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly hop: Hop;
  /** What was tried: `GET orders.shop:8080/admin`, or the service of a connection. */
  readonly what: string;
  /** HTTP status, where there is one. */
  readonly status?: number;
  /** Ours (docs/troubleshooting.md), where the hop told one. */
  readonly code?: string;
  /** In Envoy's words, or ours. */
  readonly reason: string;
  /** Id of the decision in the broker's audit log. */
  readonly decision?: string;
  /** How often it happened in a row. */
  readonly count: number;
}

const KEPT = 20;
const LONGEST = 200;

export class Refusals {
  readonly #now: () => number;
  #last: Refusal[] = [];

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** The newest first. */
  get last(): readonly Refusal[] {
    return this.#last;
  }

  /** @param message `envoy.service.accesslog.v3.StreamAccessLogsMessage` */
  take(message: Message): void {
    const { logEntries: entries } = message as LoggedEntries;
    for (const entry of entries.value?.logEntry ?? []) {
      // What cannot be read is left out: the log explains, it does not decide.
      const json = asJsonOrNothing(entry);
      if (json) this.#add(entries.case === 'httpLogs' ? ofRequest(json) : ofConnection(json));
    }
  }

  #add(found: Omit<Refusal, 'at' | 'count'>): void {
    const newest = this.#last[0];
    const again = newest && newest.what === found.what && newest.hop === found.hop && newest.reason === found.reason;
    const count = again ? newest.count + 1 : 1;
    this.#last = [{ ...found, at: this.#now(), count }, ...this.#last.slice(again ? 1 : 0)].slice(0, KEPT);
  }
}

function ofRequest(entry: HttpEntry): Omit<Refusal, 'at' | 'count'> {
  const { request = {}, response = {}, common_properties: common = {} } = entry;
  const method = request.request_method ?? 'GET';
  const path = (request.path ?? request.original_path ?? '').split('?')[0]!;
  const { response_code: status, response_code_details: details = '', response_headers: headers = {} } = response;
  const code = headers[CODE_HEADER];
  const failed = Object.keys(common.response_flags ?? {});
  const answered = details === 'via_upstream' || code === 'agent_policy_refused';
  const hop: Hop = answered ? 'workload' : isOnTheWay(failed) ? 'mesh' : 'workspace';
  return {
    hop,
    what: short(`${method} ${request.authority ?? ''}${path}`),
    ...(status === undefined ? {} : { status }),
    ...(isErrorCode(code) ? { code } : {}),
    reason: short(answered ? `answered ${status}` : details || failed.join(', ')),
  };
}

function ofConnection(entry: TcpEntry): Omit<Refusal, 'at' | 'count'> {
  const { common_properties: common = {} } = entry;
  const name = common.tls_properties?.tls_sni_hostname ?? common.upstream_cluster ?? '';
  const headers = common.filter_state_objects?.[CONNECT_ANSWER]?.headers ?? [];
  const answered = (name: string) => headers.find(({ key }) => key === name)?.value;
  const code = answered('meshpass-error-code');
  const decision = answered('meshpass-decision-id');
  const failed = Object.keys(common.response_flags ?? {});
  const reason = common.upstream_transport_failure_reason || common.connection_termination_details || failed.join(', ');
  return {
    hop: code !== undefined || isOnTheWay(failed) ? 'edge' : 'workspace',
    what: short(serviceOf(name)),
    ...(isErrorCode(code) ? { code } : {}),
    reason: short(reason || 'the connection failed'),
    ...(decision !== undefined && /^[A-Za-z0-9_-]{1,64}$/.test(decision) ? { decision } : {}),
  };
}

/** `outbound_.8080_.v2_.orders.shop.svc.cluster.local` is `orders.shop.svc.cluster.local:8080`. */
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
    return asJson(entry) as HttpEntry & TcpEntry;
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
  readonly upstream_cluster?: string;
  readonly upstream_transport_failure_reason?: string;
  readonly connection_termination_details?: string;
  /** `envoy.config.core.v3.HeaderMap` */
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
