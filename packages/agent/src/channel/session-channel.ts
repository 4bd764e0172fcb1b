/** The control channel of the session of this moment: opened anew for each session, with the certificates that it has then. */
import { createSecureContext, type SecureContext } from 'node:tls';
import type { DpopKey } from '@meshpass/identity/dpop';
import { toMeshpassError } from '@meshpass/identity/error';
import type { ReceivedConfiguration } from '../session/broker-answers.ts';
import type { CredentialManager } from '../session/credential-manager.ts';
import { hasChannel } from '../session/granted.ts';
import type { SessionConfiguration } from '../session/session-configuration.ts';
import { type Channel, type ChannelEvent, openChannel } from './channel.ts';

export interface SessionChannelOptions {
  readonly manager: Pick<
    CredentialManager,
    'credentials' | 'leaseRenewed' | 'channelSilent' | 'sessionEnded' | 'askForKeys'
  >;
  readonly configuration: Pick<SessionConfiguration, 'ask' | 'take'>;
  /** The session's own. */
  readonly key: DpopKey;
  /** PEM of the roots that the edge is verified with; Node's own where absent. */
  readonly edgeRoots: string | undefined;
  /** Reads what the channel brought. @throws MeshpassError agent_broker_answer_invalid */
  readonly read: (content: Buffer) => ReceivedConfiguration;
  /** The configuration that was received last, and what became of it. */
  readonly held: () => { readonly version: number; readonly state: 'applied' | 'refused' } | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The same as the broker sees it: the workspace's clock may be wrong. */
  readonly brokerNow: () => number;
  /** An edge that is about to end carries tunnels of the session; the newest is so many ms old. */
  readonly tunnelsDraining: (newestMs: number) => void;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

/** What an edge says of a lease that it does not renew: nobody's word, and a hint for a person. */
export interface EdgeRefusal {
  readonly code: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Without an acknowledged lease for so many periods, it is renewed over HTTPS: a lease is three by default. */
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

  /** The last refusal since the lease was last renewed by this way. */
  get refusal(): EdgeRefusal | undefined {
    return this.#refusal;
  }

  /** The session, or what is known of the mesh, is new. */
  follow(): void {
    const { credentials } = this.#options.manager;
    if (!hasChannel(credentials)) return;
    const { session, mesh } = credentials;
    if (this.#open?.sessionId !== session.id) {
      void this.#open?.channel.close();
      this.#refusal = undefined;
      this.#open = { channel: this.#channel(session.id, session.heartbeat_seconds * 1000), sessionId: session.id };
    } else if (mesh.statement_keys !== this.#keys) this.#open.channel.renew();
    this.#keys = mesh.statement_keys;
  }

  /** The broker has answered over HTTPS. */
  brokerAnswered(): void {
    this.#open?.channel.brokerAnswered();
  }

  async close(): Promise<void> {
    await this.#open?.channel.close();
  }

  #channel(sessionId: string, heartbeatMs: number): Channel {
    const { manager, key, held, brokerNow, random } = this.#options;
    return openChannel({
      edges: () => [manager.credentials.mesh.edge],
      secureContext: () => this.#secureContext(),
      ...{ sessionId, key, heartbeatMs, silentMs: heartbeatMs * SILENT_PERIODS },
      statementKeys: () => manager.credentials.mesh.statement_keys ?? NO_KEYS,
      configuration: held,
      onEvent: (event) => this.#take(sessionId, event),
      ...{ clock: brokerNow, random },
    });
  }

  /** Each connection with another one of the SVIDs that are valid: an edge may not admit a grant that was taken away. */
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
        this.#refusal = undefined;
        manager.leaseRenewed(sessionId, event.lease);
        return;
      case 'silent':
        log('channel_silent');
        manager.channelSilent(sessionId);
        return;
      case 'ended':
        manager.sessionEnded(sessionId, event);
        return;
      case 'configuration':
        this.#takeConfiguration(sessionId, event.content);
        return;
      case 'configuration_missing':
        configuration.ask();
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

  #takeConfiguration(sessionId: string, content: Buffer): void {
    const { configuration, read, log } = this.#options;
    try {
      configuration.take(sessionId, read(content));
    } catch (thrown) {
      // The broker signed what no agent reads; over HTTPS it says the same, which the status then shows.
      log('configuration_failed', { code: toMeshpassError(thrown).code });
      configuration.ask();
    }
  }
}

const NO_KEYS = [] as const;
