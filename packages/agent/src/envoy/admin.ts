/** A client for Envoy's admin interface, which listens on a Unix socket that only its owner can open. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isServiceAddress } from '@meshpass/identity';
import { request, sendAndRead } from '../http.ts';

export interface ListenerState {
  readonly name: string;
  /** The listener's address, such as `127.64.1.2:8080`. Undefined for an internal listener. */
  readonly address: string | undefined;
}

export interface ClusterState {
  readonly name: string;
  /** The number of connections that are currently open. `opened` and `failed` are totals. */
  readonly active: number;
  readonly opened: number;
  readonly failed: number;
  readonly healthy: boolean;
}

const TIMEOUT = 2_000;
const LARGEST = 16_777_216;
const DRAIN_POLL = 25;

export class EnvoyAdmin {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  isReady(): Promise<boolean> {
    return this.#ask('GET', '/ready').then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  /**
   * Lists Envoy's listeners.
   * @throws Error if Envoy does not respond
   */
  async listeners(): Promise<ListenerState[]> {
    const { listener_statuses: statuses = [] } = await this.#json<{ listener_statuses?: ListenerStatus[] }>(
      '/listeners?format=json',
    );
    return statuses.map(({ name, local_address: { socket_address: at } = {} }) => ({
      name,
      address: at && `${at.address}:${at.port_value}`,
    }));
  }

  /**
   * Lists Envoy's clusters, with the state of their connections.
   * @throws Error if Envoy does not respond
   */
  async clusters(): Promise<ClusterState[]> {
    const { cluster_statuses: statuses = [] } = await this.#json<{ cluster_statuses?: ClusterStatus[] }>(
      '/clusters?format=json',
    );
    return statuses.map(({ name, host_statuses: hosts = [] }) => {
      const sum = (stat: string) =>
        hosts
          .flatMap(({ stats = [] }) => stats)
          .filter((one) => one.name === stat)
          .reduce((total, { value = 0 }) => total + Number(value), 0);
      const healthy = hosts.some(
        ({ health_status: { failed_outlier_check: ejected, eds_health_status: told } = {} }) =>
          !ejected && (told === undefined || told === 'HEALTHY' || told === 'UNKNOWN'),
      );
      return { name, active: sum('cx_active'), opened: sum('cx_total'), failed: sum('cx_connect_fail'), healthy };
    });
  }

  /**
   * Makes all listeners stop accepting connections, then waits until no requests or TCP connections are open, or until
   * `longest` milliseconds have passed.
   * @throws Error if Envoy does not respond
   */
  async drain(longest: number): Promise<void> {
    const end = performance.now() + longest;
    const left = () => Math.max(1, Math.ceil(end - performance.now()));
    await this.#ask('POST', '/drain_listeners?graceful&skip_exit', left());
    while (performance.now() < end) {
      const { text } = await this.#ask('GET', '/stats?usedonly&filter=downstream_(rq|cx)_active', left());
      if (countOpenRequests(text) === 0) return;
      await sleep(Math.min(DRAIN_POLL, left()));
    }
  }

  async #json<T>(path: string): Promise<T> {
    const { status, text } = await this.#ask('GET', path);
    if (status !== 200) throw new Error(`Envoy responded to ${path} with ${status}`);
    return JSON.parse(text) as T;
  }

  /** @param timeout the time limit for the response, in milliseconds */
  #ask(method: 'GET' | 'POST', path: string, timeout = TIMEOUT) {
    const outgoing = request({ socketPath: this.#socketPath, method, path, timeout, agent: false });
    outgoing.on('timeout', () => outgoing.destroy(new Error('Envoy did not respond in time')));
    return sendAndRead(outgoing, LARGEST);
  }
}

/**
 * Counts the open requests and the open TCP connections to services, based on Envoy's gauges. Idle HTTP connections are
 * not counted, so the connections of HTTP connection managers are subtracted from those of the listeners. The names of
 * the managers have the form `GRANT/ADDRESS_PORT`.
 */
export function countOpenRequests(stats: string): number {
  let requests = 0;
  const connections = new Map<string, number>();
  for (const line of stats.split('\n')) {
    const [, kind, name = '', gauge, value] =
      /^(http|listener)\.(.+)\.downstream_(rq|cx)_active: ([0-9]+)$/.exec(line) ?? [];
    // The admin request itself is not counted.
    if (kind === 'http' && gauge === 'rq' && name !== 'admin') requests += Number(value);
    const [, at, address] = /^(?:.*\/)?((127(?:\.[0-9]+){3})_[0-9]+)$/.exec(name) ?? [];
    if (gauge !== 'cx' || at === undefined || !isServiceAddress(address!)) continue;
    connections.set(at, (connections.get(at) ?? 0) + (kind === 'listener' ? Number(value) : -Number(value)));
  }
  return [...connections.values()].reduce((sum, count) => sum + Math.max(count, 0), requests);
}

interface ListenerStatus {
  readonly name: string;
  readonly local_address?: { readonly socket_address?: { readonly address: string; readonly port_value: number } };
}

interface ClusterStatus {
  readonly name: string;
  readonly host_statuses?: readonly {
    readonly stats?: readonly { readonly name: string; readonly value?: string | number }[];
    readonly health_status?: { readonly failed_outlier_check?: boolean; readonly eds_health_status?: string };
  }[];
}
