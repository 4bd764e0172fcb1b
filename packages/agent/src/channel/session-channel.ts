/**
 * Manages the control channel of the current session, which is opened with the session's current certificates, and the
 * session's configuration. The configuration usually arrives through the channel. At the start of a session, or if the
 * channel has not delivered a known version, the agent requests it over HTTPS. Both transports deliver the same signed
 * header and the same bytes.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import { type DpopKey, MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { ReceivedConfiguration } from '../session/broker-answers.ts';
import type { BrokerClient, WholeConfiguration } from '../session/broker-client.ts';
import type { CredentialManager } from '../session/credential-manager.ts';
import { createStatementVerifier, type StatementVerifier } from '../statements/statement-verifier.ts';
import { type Channel, type ChannelEvent, openChannel } from './channel.ts';

export interface SessionChannelOptions {
  readonly manager: Pick<
    CredentialManager,
    'credentials' | 'leaseRenewed' | 'channelSilent' | 'sessionEnded' | 'askForKeys' | 'askForConfiguration'
  >;
  readonly client: Pick<BrokerClient, 'renewLease' | 'brokerNow' | 'configuration' | 'readConfiguration'>;
  /** The session's DPoP key, which also signs its lease proofs. */
  readonly key: DpopKey;
  /** The root certificates that verify the edge, as PEM. Defaults to the root certificates of Node.js. */
  readonly edgeRoots: string | undefined;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
  /** Called with each configuration, once it has been verified. */
  readonly configured: (configuration: ReceivedConfiguration) => unknown;
  /**
   * Called when an edge that is shutting down carries tunnels of this session. The newest of them is `newestMs` old.
   */
  readonly tunnelsDraining: (newestMs: number) => void;
  /** Returns a random number in [0, 1). */
  readonly random: () => number;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

/** The reason that an edge gave for not renewing a lease. It is not signed, so it is only a hint for the user. */
export interface EdgeRefusal {
  readonly code: string;
  /** When the edge refused the lease, in Unix milliseconds. */
  readonly at: number;
}

/**
 * The number of heartbeat periods without an acknowledged lease after which the agent renews the lease over HTTPS. By
 * default, a lease lasts for three heartbeat periods.
 */
const SILENT_PERIODS = 1.5;

export class SessionChannel {
  readonly #options: SessionChannelOptions;
  #open: { readonly channel: Channel; readonly received: StatementVerifier; readonly sessionId: string } | undefined;
  #keys: unknown;
  #closed = false;
  #refusal: EdgeRefusal | undefined;
  #turn = 0;

  constructor(options: SessionChannelOptions) {
    this.#options = options;
  }

  /** The latest refusal since the channel last renewed the lease, or undefined if there was none. */
  get refusal(): EdgeRefusal | undefined {
    return this.#refusal;
  }

  /** Opens the channel for a new session. */
  begin(): void {
    const { manager, client, key, random, log } = this.#options;
    const { session, firstConfiguration } = manager.credentials;
    const { id: sessionId, heartbeat_seconds: seconds } = session;
    const received = createStatementVerifier({ sessionId, keys: () => manager.credentials.mesh.statement_keys });
    void this.#open?.channel.close();
    this.#refusal = undefined;
    this.#keys = manager.credentials.mesh.statement_keys;
    const channel = openChannel({
      edge: () => manager.credentials.mesh.edge,
      secureContext: () => this.#secureContext(),
      sessionId,
      key,
      received,
      heartbeatMs: seconds * 1000,
      silentMs: seconds * 1000 * SILENT_PERIODS,
      onEvent: (event) => this.#take(sessionId, event),
      clock: () => client.brokerNow,
      random,
    });
    this.#open = { channel, received, sessionId };
    try {
      if (firstConfiguration) {
        this.#configure(sessionId, firstConfiguration);
        return;
      }
    } catch (thrown) {
      log('configuration_failed', { code: toMeshpassError(thrown).code });
    }
    manager.askForConfiguration();
  }

  /** Renews the lease if the mesh's statement keys have changed. */
  follow(): void {
    const { statement_keys: keys } = this.#options.manager.credentials.mesh;
    if (keys !== this.#keys) this.#open?.channel.renew();
    this.#keys = keys;
  }

  /**
   * Renews the lease of the current session over HTTPS.
   * @throws MeshpassError the broker's refusal
   */
  async renewOverHttps(): Promise<void> {
    if (!this.#open) return;
    const { channel, sessionId } = this.#open;
    await channel.renewBy((proof) => this.#options.client.renewLease(sessionId, proof));
  }

  /**
   * Requests the session's configuration over HTTPS.
   * @throws MeshpassError the broker's refusal, or agent_broker_answer_invalid
   */
  async fetchConfiguration(): Promise<void> {
    const { manager, client } = this.#options;
    const { session, accessToken } = manager.credentials;
    this.#configure(session.id, await client.configuration(accessToken));
  }

  /** Signals that the broker has responded over HTTPS. */
  brokerAnswered(): void {
    this.#open?.channel.brokerAnswered();
  }

  /** Closes the channel. No further configuration is applied afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#open?.channel.close();
  }

  #isCurrent(sessionId: string): boolean {
    const { session } = this.#options.manager.credentials;
    return !this.#closed && this.#open?.sessionId === sessionId && session.id === sessionId;
  }

  /**
   * Verifies and applies a configuration that was received over HTTPS.
   * @throws MeshpassError agent_broker_answer_invalid
   */
  #configure(sessionId: string, { statement, content }: WholeConfiguration): void {
    if (!this.#isCurrent(sessionId)) return;
    const { manager, client, configured } = this.#options;
    const { channel, received } = this.#open!;
    const parsed = client.readConfiguration(content);
    const belief = received.whole(statement, content);
    if (belief.type === 'configuration') configured({ version: belief.version, ...parsed });
    else if (belief.type === 'unsure') channel.renew();
    else if (belief.type !== 'stale') {
      if (belief.type === 'unknown_key') manager.askForKeys(sessionId);
      throw new MeshpassError(
        'agent_broker_answer_invalid',
        'The agent rejected the configuration: its signature or digest is invalid. The last valid one stays in use.',
      );
    }
  }

  /** Applies a configuration that the channel has verified. If it cannot be parsed, it is requested over HTTPS. */
  #use(version: number, content: Buffer): void {
    const { manager, client, configured, log } = this.#options;
    try {
      configured({ version, ...client.readConfiguration(content) });
    } catch (thrown) {
      // HTTPS returns the same configuration, but the error then appears in the status.
      log('configuration_failed', { code: toMeshpassError(thrown).code });
      manager.askForConfiguration();
    }
  }

  /**
   * Creates a TLS context with one of the valid SVIDs. The SVIDs are used in turn, because an edge may reject one whose
   * grant has been lost.
   */
  #secureContext(): SecureContext | undefined {
    const { manager, edgeRoots, now } = this.#options;
    const valid = [...manager.credentials.svids.values()].filter(({ expiresAt }) => expiresAt > now());
    const svid = valid[this.#turn++ % Math.max(1, valid.length)];
    return svid && createSecureContext({ cert: svid.chain, key: svid.privateKey, ...(edgeRoots && { ca: edgeRoots }) });
  }

  #take(sessionId: string, event: ChannelEvent): void {
    const { manager, now, log } = this.#options;
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
        if (this.#isCurrent(sessionId)) this.#use(event.version, event.content);
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
