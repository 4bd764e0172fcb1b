/** Keeps the names of all services that have a listener in the hosts file for as long as the agent is running. */
import { MeshpassError } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';
import { writeHostsBlock } from './hosts-file.ts';

export class LoopbackNames {
  readonly #hostsFile: string;
  readonly #mayListenOn: (port: number) => boolean;
  #named: ReadonlySet<string> = new Set();
  #notes: readonly string[] = [];
  #removed = false;

  /** @param mayListenOn returns whether Envoy may listen on a port */
  constructor(hostsFile: string, mayListenOn: (port: number) => boolean) {
    this.#hostsFile = hostsFile;
    this.#mayListenOn = mayListenOn;
  }

  /** Limitations that are shown to the user, each with a remedy. */
  get notes(): readonly string[] {
    return this.#notes;
  }

  isNamed(address: string): boolean {
    return this.#named.has(address);
  }

  /**
   * Writes the names of all services that have a listener to the hosts file.
   * @param listening the `ADDRESS:PORT` of every listener. Services without a listener are omitted
   */
  write(services: readonly ReachableService[], listening: ReadonlySet<string>): void {
    if (this.#removed) return;
    const names = new Map<string, Set<string>>();
    const notes: string[] = [];
    for (const { host, aliases, address, port } of services) {
      if (address !== undefined && listening.has(`${address}:${port}`)) {
        names.set(address, new Set([...(names.get(address) ?? []), host, ...aliases]));
      } else {
        notes.push(
          this.#mayListenOn(port)
            ? `${host}:${port} is not currently reachable by name; run meshpass status to see why`
            : `${host}:${port} is only reachable through the proxy (eval "$(meshpass env)"): this user may not listen on port ` +
                `${port}. To allow it: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=${port}, then run meshpass down and meshpass up`,
        );
      }
    }
    this.#named = new Set(names.keys());
    try {
      writeHostsBlock(
        this.#hostsFile,
        [...names].map(([address, of]) => ({ address, names: [...of] })),
        { sudo: true },
      );
    } catch (error) {
      this.#named = new Set();
      notes.push(error instanceof MeshpassError ? error.message : String(error));
    }
    this.#notes = notes;
  }

  /**
   * Removes all names permanently. They are not written again, even if Envoy still reports its listeners while it is
   * draining.
   */
  remove(): void {
    this.#removed = true;
    this.#named = new Set();
    try {
      writeHostsBlock(this.#hostsFile, [], { sudo: true });
    } catch {
      // The file was not writable when the agent started either, so it contains no names.
    }
  }
}
