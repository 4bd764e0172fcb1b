/** Envoy's administration interface, on a Unix socket that only its owner can open. */

import { setTimeout as sleep } from 'node:timers/promises';
import { request } from '../http.ts';

export interface ListenerState {
  readonly name: string;
  /** `127.64.1.2:8080`; undefined for an internal listener. */
  readonly address: string | undefined;
}

export interface ClusterState {
  readonly name: string;
  /** Connections that are open, those that were opened, those that failed. */
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

  async isReady(): Promise<boolean> {
    try {
      return (await this.#ask('GET', '/ready')).status === 200;
    } catch {
      return false;
    }
  }

  /** @throws Error where Envoy does not answer */
  async listeners(): Promise<ListenerState[]> {
    const { listener_statuses: statuses = [] } = await this.#json<{ listener_statuses?: ListenerStatus[] }>(
      '/listeners?format=json',
    );
    return statuses.map(({ name, local_address: { socket_address: at } = {} }) => ({
      name,
      address: at && `${at.address}:${at.port_value}`,
    }));
  }

  /** @throws Error where Envoy does not answer */
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

  /** Listeners stop accepting; returns when no request is under way, or after `longest` milliseconds. */
  async drain(longest: number): Promise<void> {
    await this.#ask('POST', '/drain_listeners?graceful&skip_exit');
    for (const end = performance.now() + longest; performance.now() < end; await sleep(DRAIN_POLL)) {
      const { body } = await this.#ask('GET', '/stats?usedonly&filter=downstream_rq_active');
      // The administration's own request is one of them.
      const active = body.split('\n').filter((line) => !line.startsWith('http.admin.') && / [1-9]/.test(line));
      if (active.length === 0) return;
    }
  }

  async #json<T>(path: string): Promise<T> {
    const { status, body } = await this.#ask('GET', path);
    if (status !== 200) throw new Error(`Envoy answered ${status} to ${path}`);
    return JSON.parse(body) as T;
  }

  #ask(method: 'GET' | 'POST', path: string): Promise<{ readonly status: number; readonly body: string }> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { socketPath: this.#socketPath, method, path, timeout: TIMEOUT, agent: false },
        (incoming) => {
          const chunks: Buffer[] = [];
          let size = 0;
          incoming.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > LARGEST) outgoing.destroy(new Error('Envoy answered too much'));
            else chunks.push(chunk);
          });
          incoming.on('error', reject);
          incoming.on('end', () =>
            resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
          );
        },
      );
      outgoing.on('timeout', () => outgoing.destroy(new Error('Envoy did not answer in time')));
      outgoing.on('error', reject);
      outgoing.end();
    });
  }
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
