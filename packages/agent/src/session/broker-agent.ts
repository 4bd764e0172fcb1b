/**
 * Connections to the broker. The first can be opened before there is anything to ask: its handshakes go back and forth while the rest
 * of the agent is loaded.
 */
import { Agent, type RequestOptions } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { type Addresses, rememberAddresses } from '@meshpass/identity/address';
import { MeshpassError } from '@meshpass/identity/error';

export interface BrokerAgentOptions {
  /** PEM; undefined: Node's own roots (and NODE_EXTRA_CA_CERTS). */
  readonly ca?: string | undefined;
  /** How the broker's name is resolved; by the system where absent. */
  readonly addresses?: Addresses;
}

/** Certificates, token and configuration are asked for side by side at the start. */
const MAX_CONNECTIONS = 3;
/** Longest that is waited for the broker's address before the rest of the agent is loaded, ms. */
const LONGEST_LOOKUP = 50;

export class BrokerAgent extends Agent {
  readonly #ca: string | undefined;
  readonly #addresses: Addresses;
  #early: TLSSocket | undefined;
  #opened: Promise<void> | undefined;

  constructor({ ca, addresses = rememberAddresses() }: BrokerAgentOptions = {}) {
    super({ keepAlive: true, maxSockets: MAX_CONNECTIONS, lookup: addresses.lookup, ...(ca ? { ca } : {}) });
    this.#ca = ca;
    this.#addresses = addresses;
  }

  /** Returns when it has begun to connect. Whether that succeeds, the first request tells. */
  async openEarly({ hostname, port }: URL): Promise<void> {
    // A URL has an IPv6 address in brackets.
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    const early = connect({
      ...{ host, port: Number(port || 443), lookup: this.#addresses.lookup, ALPNProtocols: ['http/1.1'] },
      // An address is no server name (RFC 6066 section 3); the certificate is held against it all the same.
      ...(isIP(host) === 0 && { servername: host }),
      ...(this.#ca ? { ca: this.#ca } : {}),
    });
    early.on('error', () => early.destroy());
    this.#early = early;
    this.#opened = first(early, 'secureConnect', 'close');
    await Promise.race([first(early, 'lookup', 'connect', 'close'), sleep(LONGEST_LOOKUP)]);
  }

  /** Waits until the early connection can carry a request, at most for so many milliseconds. */
  async opened(within: number): Promise<void> {
    await Promise.race([this.#opened, sleep(within)]);
  }

  override createConnection(
    options: RequestOptions,
    done?: (error: Error | null, connection: Duplex) => void,
  ): Duplex | null | undefined {
    const early = this.#early;
    this.#early = undefined;
    return early && !early.destroyed ? early : super.createConnection(options, done);
  }

  /** Of several brokers another may be the active one now: connections that wait for their next use are of the former. */
  avoid(address: string | undefined): void {
    this.#addresses.failed(address);
    for (const socket of Object.values(this.freeSockets).flat()) socket?.destroy();
  }

  override destroy(): void {
    this.#early?.destroy();
    super.destroy();
  }
}

/** @throws MeshpassError config_invalid where it is not https */
export function brokerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:') {
    throw new MeshpassError('config_invalid', `The broker's URL must begin with https://, and is ${text}.`);
  }
  return url;
}

function first(socket: TLSSocket, ...events: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    for (const event of events) socket.once(event, () => resolve());
  });
}
