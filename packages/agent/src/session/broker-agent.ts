/**
 * Manages the connections to the broker. The first one is opened before there is a request, so that its handshakes
 * overlap with loading the agent.
 */
import { Agent, type RequestOptions } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { type AddressLookup, createAddressLookup, MeshpassError } from '@meshpass/identity';

export interface BrokerAgentOptions {
  /** The root certificates as PEM. If undefined, the root certificates of Node.js (and NODE_EXTRA_CA_CERTS) apply. */
  readonly ca?: string | undefined;
  /** Resolves the broker's host name. Defaults to the system resolver. */
  readonly addresses?: AddressLookup;
}

/**
 * The maximum number of connections. When the agent starts, it requests certificates, a token and a configuration
 * concurrently.
 */
const MAX_CONNECTIONS = 3;
/** How long the lookup of the broker's address may delay loading the rest of the agent, in milliseconds. */
const LONGEST_LOOKUP = 50;

export class BrokerAgent extends Agent {
  readonly #ca: string | undefined;
  readonly #addresses: AddressLookup;
  #early: TLSSocket | undefined;
  #opened: Promise<void> | undefined;

  constructor({ ca, addresses = createAddressLookup() }: BrokerAgentOptions = {}) {
    super({ keepAlive: true, maxSockets: MAX_CONNECTIONS, lookup: addresses.lookup, ...(ca ? { ca } : {}) });
    this.#ca = ca;
    this.#addresses = addresses;
  }

  /** Starts connecting to the broker. Any error is reported by the first request. */
  async openEarly({ hostname, port }: URL): Promise<void> {
    // An IPv6 address in a URL is enclosed in brackets.
    const host = hostname.replace(/^\[(.*)\]$/, '$1');
    const early = connect({
      host,
      port: Number(port || 443),
      lookup: this.#addresses.lookup,
      ALPNProtocols: ['http/1.1'],
      // An IP address is not a valid server name (RFC 6066 section 3). Node.js still verifies the certificate against
      // it.
      ...(isIP(host) === 0 && { servername: host }),
      ...(this.#ca ? { ca: this.#ca } : {}),
    });
    early.on('error', () => early.destroy());
    this.#early = early;
    this.#opened = first(early, 'secureConnect', 'close');
    await Promise.race([first(early, 'lookup', 'connect', 'close'), sleep(LONGEST_LOOKUP)]);
  }

  /**
   * Waits until the early connection can carry a request.
   * @param within the maximum time to wait, in milliseconds
   */
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

  /**
   * Avoids an address that has failed. Idle connections are closed, because another replica of the broker may be active
   * now.
   */
  avoid(address: string | undefined): void {
    this.#addresses.failed(address);
    for (const socket of Object.values(this.freeSockets).flat()) socket?.destroy();
  }

  override destroy(): void {
    this.#early?.destroy();
    super.destroy();
  }
}

/**
 * Parses the URL of the broker.
 * @throws MeshpassError config_invalid if it is not https
 */
export function brokerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:') {
    throw new MeshpassError('config_invalid', `The broker's URL must begin with https://, not ${text}.`);
  }
  return url;
}

function first(socket: TLSSocket, ...events: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    for (const event of events) socket.once(event, () => resolve());
  });
}
