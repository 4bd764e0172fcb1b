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

/** Addresses that are tried for a service. */
const MAX_ADDRESSES = 8;
/** Hosts whose address is remembered; beyond it those without a service are forgotten. */
const MAX_REMEMBERED = 8_192;

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
    this.#forget(services);
    const wanted = new Map(services.map((service) => [`${service.host}:${service.port}`, service]));
    for (const [key, { server }] of this.#listening) {
      if (wanted.has(key)) continue;
      server.close();
      this.#listening.delete(key);
    }
    this.#failures = [];
    for (const [key, service] of wanted) await this.#listen(key, service);
  }

  #forget(services: readonly ReachableService[]): void {
    const { addresses } = this.#options;
    if (addresses.size <= MAX_REMEMBERED) return;
    const hosts = new Set(services.map((service) => service.host));
    for (const host of addresses.keys()) if (!hosts.has(host)) addresses.delete(host);
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
    for (let attempt = 1; ; attempt++) {
      const address = this.#options.addresses.get(service.host)!;
      try {
        this.#listening.set(key, { server: await this.#listenAt(key, address, service), service, address });
        return;
      } catch (error) {
        const failure = error as NodeJS.ErrnoException;
        if (failure.code === 'EADDRINUSE' && attempt < MAX_ADDRESSES && this.#moveOn(service.host)) continue;
        this.#failures.push({ service, address, reason: listenReason(failure, service.port) });
        return;
      }
    }
  }

  async #listenAt(key: string, address: string, service: ReachableService): Promise<Server> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      this.#clients.add(client);
      client.once('close', () => this.#clients.delete(client));
      this.#options.carry(client, this.#listening.get(key)?.service ?? service);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port: service.port, backlog: 511 }, () => resolve());
    });
    return server;
  }

  /** Another agent on this machine may have the address: the next one, unless a port of the host has it already. */
  #moveOn(host: string): boolean {
    if ([...this.#listening.values()].some(({ service }) => service.host === host)) return false;
    const { addresses } = this.#options;
    const taken = addresses.get(host)!;
    addresses.set(host, nextFree(taken, new Set(addresses.values())));
    return true;
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
    const first = format(((hash[0]! % 63) + 64) * 65_536 + hash[1]! * 256 + hash[2]!);
    const address = used.has(first) || isEdgeOfBlock(first) ? nextFree(first, used) : first;
    given.set(host, address);
    used.add(address);
  }
}

function nextFree(address: string, used: ReadonlySet<string>): string {
  let candidate = address;
  do {
    const [, a, b, c] = candidate.split('.').map(Number) as [number, number, number, number];
    const number = a * 65_536 + b * 256 + c + 1;
    candidate = format(number >= 127 * 65_536 ? 64 * 65_536 : number);
  } while (used.has(candidate) || isEdgeOfBlock(candidate));
  return candidate;
}

/** 127.x.y.0 and 127.x.y.255 look like networks and broadcasts to people and to some programs. */
function isEdgeOfBlock(address: string): boolean {
  return address.endsWith('.0') || address.endsWith('.255');
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
