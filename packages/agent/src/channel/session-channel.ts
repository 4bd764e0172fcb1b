/** Control channel of the current session, opened for each session with its current certificates. */
import { createSecureContext, type SecureContext } from 'node:tls';
import type { DpopKey } from '@meshpass/identity/dpop';
import type { BrokerClient } from '../session/broker-client.ts';
import type { CredentialManager } from '../session/credential-manager.ts';
import type { SessionConfiguration } from '../session/session-configuration.ts';
import { type Channel, type ChannelEvent, openChannel } from './channel.ts';

export interface SessionChannelOptions {
  readonly manager: Pick<
    CredentialManager,
    'credentials' | 'leaseRenewed' | 'channelSilent' | 'sessionEnded' | 'askForKeys' | 'askForConfiguration'
  >;
  readonly client: Pick<BrokerClient, 'renewLease' | 'brokerNow'>;
  readonly configuration: Pick<SessionConfiguration, 'use' | 'received'>;
  /** Session key. */
  readonly key: DpopKey;
  /** PEM of the roots that verify the edge; defaults to Node's own. */
  readonly edgeRoots: string | undefined;
  /** Unix ms. */
  readonly now: () => number;
  /** Reports that a terminating edge carries this session's tunnels, the newest of which is `newestMs` old. */
  readonly tunnelsDraining: (newestMs: number) => void;
  /** Returns a number in [0, 1). */
  readonly random: () => number;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

/** The edge's reason for not renewing a lease. Unsigned, so only a hint for the user. */
export interface EdgeRefusal {
  readonly code: string;
  /** Unix ms. */
  readonly at: number;
}

/**
 * Lease periods without an acknowledgement before the agent renews over HTTPS. A lease lasts three periods by default.
 */
const SILENT_PERIODS = 1.5;

export class SessionChannel {
  readonly #options: SessionChannelOptions;
  #open: { readonly channel: Channel; readonly sessionId: string } | undefined;
  #keys: unknown;
  #refusal: EdgeRefusal | undefined;
  #turn = 0;

  constructor(options: SessionChannelOptions) {
    this.#options = options;
  }

  /** Last refusal since the channel renewed the lease. */
  get refusal(): EdgeRefusal | undefined {
    return this.#refusal;
  }

  /** Follows a new session, or new information about the mesh. */
  follow(): void {
    const { session, mesh } = this.#options.manager.credentials;
    if (this.#open?.sessionId !== session.id) {
      void this.#open?.channel.close();
      this.#refusal = undefined;
      this.#open = { channel: this.#channel(session.id, session.heartbeat_seconds * 1000), sessionId: session.id };
    } else if (mesh.statement_keys !== this.#keys) this.#open.channel.renew();
    this.#keys = mesh.statement_keys;
  }

  /** Renews the current session's lease soon, because its grants may have changed. */
  renewSoon(): void {
    this.#open?.channel.renew();
  }

  /** Renews the current session's lease over HTTPS. @throws MeshpassError the broker's refusal */
  async renewOverHttps(): Promise<void> {
    if (!this.#open) return;
    const { channel, sessionId } = this.#open;
    await channel.renewBy((proof) => this.#options.client.renewLease(sessionId, proof));
  }

  /** Reports that the broker responded over HTTPS. */
  brokerAnswered(): void {
    this.#open?.channel.brokerAnswered();
  }

  async close(): Promise<void> {
    await this.#open?.channel.close();
  }

  #channel(sessionId: string, heartbeatMs: number): Channel {
    const { manager, client, configuration, key, random } = this.#options;
    return openChannel({
      edge: () => manager.credentials.mesh.edge,
      secureContext: () => this.#secureContext(),
      sessionId,
      key,
      heartbeatMs,
      silentMs: heartbeatMs * SILENT_PERIODS,
      received: configuration.received,
      onEvent: (event) => this.#take(sessionId, event),
      clock: () => client.brokerNow,
      random,
    });
  }

  /** Rotates through the valid SVIDs, because an edge may reject an SVID whose grant was lost. */
  #secureContext(): SecureContext | undefined {
    const { manager, edgeRoots, now } = this.#options;
    const valid = [...manager.credentials.svids.values()].filter(({ expiresAt }) => expiresAt > now());
    const svid = valid[this.#turn++ % Math.max(1, valid.length)];
    return svid && createSecureContext({ cert: svid.chain, key: svid.privateKey, ...(edgeRoots && { ca: edgeRoots }) });
  }

  #take(sessionId: string, event: ChannelEvent): void {
    const { manager, configuration, now, log } = this.#options;
    switch (event.type) {
      case 'lease':
        if (event.by === 'channel') this.#refusal = undefined;
        manager.leaseRenewed(sessionId, event.lease, event.by);
        return;
      case 'silent':
        log('channel_silent');
        manager.channelSilent(sessionId);
        return;
      case 'ended':
        manager.sessionEnded(sessionId, event);
        return;
      case 'configuration':
        configuration.use(sessionId, event.version, event.content);
        return;
      case 'configuration_missing':
        manager.askForConfiguration();
        return;
      case 'unknown_key':
        manager.askForKeys(sessionId);
        return;
      case 'tunnels_draining':
        this.#options.tunnelsDraining(event.newestMs);
        return;
      case 'refused':
        this.#refusal = { code: /^[a-z_]+$/.test(event.code) ? event.code : 'unknown', at: now() };
    }
  }
}
