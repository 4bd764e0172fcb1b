/** Services under their own names: a loopback address each, listening on the service port, named in /etc/hosts. */
import { createHash } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { ReachableService } from '@meshpass/identity/wire';
import type { HostsEntry } from './hosts-file.ts';

export interface ByNameOptions {
  /** Carries an accepted connection. */
  readonly carry: (client: Socket, service: ReachableService) => void;
  /** Addresses that were given out before, so that a service keeps its own while the agent runs. */
  readonly addresses: Map<string, string>;
}

export interface ListenFailure {
  readonly service: ReachableService;
  readonly address: string;
  /** For people: why, and what to do. */
  readonly reason: string;
}

export class ByName {
  readonly #options: ByNameOptions;
  readonly #listening = new Map<string, { server: Server; service: ReachableService; address: string }>();
  readonly #clients = new Set<Socket>();
  #failures: ListenFailure[] = [];

  constructor(options: ByNameOptions) {
    this.#options = options;
  }

  /** Services that could not get their port. */
  get failures(): readonly ListenFailure[] {
    return this.#failures;
  }

  /** Where each listening service is. */
  get reachable(): readonly { readonly service: ReachableService; readonly address: string }[] {
    return [...this.#listening.values()].map(({ service, address }) => ({ service, address }));
  }

  /** Listens for exactly these services; what is gone is closed, with its connections. */
  async serve(services: readonly ReachableService[]): Promise<void> {
    assignAddresses(
      services.map((service) => service.host),
      this.#options.addresses,
    );
    const wanted = new Map(services.map((service) => [`${service.host}:${service.port}`, service]));
    for (const [key, { server }] of this.#listening) {
      if (wanted.has(key)) continue;
      server.close();
      this.#listening.delete(key);
    }
    this.#failures = [];
    await Promise.all([...wanted].map(([key, service]) => this.#listen(key, service)));
  }

  hostsEntries(): HostsEntry[] {
    const byAddress = new Map<string, Set<string>>();
    for (const { service, address } of this.#listening.values()) {
      const names = byAddress.get(address) ?? new Set();
      for (const name of [service.host, ...service.aliases]) names.add(name);
      byAddress.set(address, names);
    }
    return [...byAddress].map(([address, names]) => ({ address, names: [...names] }));
  }

  close(): void {
    for (const { server } of this.#listening.values()) server.close();
    this.#listening.clear();
    for (const client of this.#clients) client.destroy();
  }

  async #listen(key: string, service: ReachableService): Promise<void> {
    const present = this.#listening.get(key);
    if (present) {
      present.service = service;
      return;
    }
    const address = this.#options.addresses.get(service.host)!;
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      this.#clients.add(client);
      client.once('close', () => this.#clients.delete(client));
      this.#options.carry(client, this.#listening.get(key)?.service ?? service);
    });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ host: address, port: service.port, backlog: 511 }, () => resolve());
      });
      this.#listening.set(key, { server, service, address });
    } catch (error) {
      this.#failures.push({ service, address, reason: listenReason(error as NodeJS.ErrnoException, service.port) });
    }
  }
}

/**
 * A loopback address for each host: from a hash of its name, so that it is the same in every run; the next free one
 * where two hashes meet. Never 127.0.x.y, where other programs listen.
 */
export function assignAddresses(hosts: readonly string[], given: Map<string, string>): void {
  const used = new Set(given.values());
  for (const host of [...new Set(hosts)].sort()) {
    if (given.has(host)) continue;
    const hash = createHash('sha256').update(host).digest();
    let number = ((hash[0]! % 63) + 64) * 65_536 + hash[1]! * 256 + hash[2]!;
    let address = format(number);
    while (used.has(address) || number % 256 === 0 || number % 256 === 255) {
      number = number + 1 >= 127 * 65_536 ? 64 * 65_536 : number + 1;
      address = format(number);
    }
    given.set(host, address);
    used.add(address);
  }
}

function format(number: number): string {
  return `127.${number >> 16}.${(number >> 8) & 255}.${number & 255}`;
}

function listenReason(error: NodeJS.ErrnoException, port: number): string {
  if (error.code === 'EADDRINUSE') {
    return `port ${port} is taken by a program that listens on every address; stop it or let it listen on 127.0.0.1`;
  }
  if (error.code === 'EACCES') return `port ${port} needs more rights; use the proxy: eval "$(meshpass env)"`;
  return `${error.code ?? error.message}; use the proxy: eval "$(meshpass env)"`;
}
