/**
 * Tracks the broker's configuration for the current session. A control channel delivers it. At the start of a session,
 * or if the channel has not delivered a known version, it is requested over HTTPS. Both ways deliver the same signed
 * header and bytes, which `received` verifies.
 */
import type { StatementKey } from '@meshpass/identity/channel/statement';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { createReceived, type Received } from '../statements/received.ts';
import type { ReceivedConfiguration } from './broker-answers.ts';
import type { BrokerClient, WholeConfiguration } from './broker-client.ts';

export interface SessionConfigurationOptions {
  readonly client: Pick<BrokerClient, 'configuration' | 'readConfiguration'>;
  /** Current session. */
  readonly session: () => { readonly id: string; readonly accessToken: string };
  /** Keys that verify the broker's statements. A change replaces the array. */
  readonly keys: () => readonly StatementKey[];
  /** Renews this session's lease soon, because its grants may have changed. */
  readonly renewLease: () => void;
  /** Calls `fetch` soon, and again until it succeeds. */
  readonly ask: () => void;
  /** Requests the broker's keys for this session. */
  readonly askForKeys: (sessionId: string) => void;
  readonly received: (configuration: ReceivedConfiguration) => unknown;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

export class SessionConfiguration {
  readonly #options: SessionConfigurationOptions;
  #session: { readonly id: string; readonly received: Received } | undefined;
  #closed = false;

  constructor(options: SessionConfigurationOptions) {
    this.#options = options;
  }

  /** Verifies the current session's statements. */
  get received(): Received {
    return this.#session!.received;
  }

  /** Follows a new session. @param first configuration that came with the session, if any */
  begin(first: WholeConfiguration | undefined): void {
    const { id } = this.#options.session();
    this.#session = { id, received: createReceived({ sessionId: id, keys: this.#options.keys }) };
    try {
      if (first) {
        this.#take(id, first);
        return;
      }
    } catch (thrown) {
      this.#options.log('configuration_failed', { code: toMeshpassError(thrown).code });
    }
    this.#options.ask();
  }

  /** Requests the configuration. @throws MeshpassError the broker's refusal, agent_broker_answer_invalid */
  async fetch(): Promise<void> {
    const { client, session } = this.#options;
    const { id, accessToken } = session();
    this.#take(id, await client.configuration(accessToken));
  }

  /** Uses a configuration that `received` has verified. Requests it over HTTPS if it cannot be parsed. */
  use(sessionId: string, version: number, content: Buffer): void {
    if (!this.#isCurrent(sessionId)) return;
    try {
      this.#options.received({ version, ...this.#options.client.readConfiguration(content) });
    } catch (thrown) {
      // HTTPS returns the same configuration, and the status then shows the error.
      this.#options.log('configuration_failed', { code: toMeshpassError(thrown).code });
      this.#options.ask();
    }
  }

  close(): void {
    this.#closed = true;
  }

  #isCurrent(sessionId: string): boolean {
    return !this.#closed && this.#session?.id === sessionId && this.#options.session().id === sessionId;
  }

  /** Verifies and uses a configuration from HTTPS. @throws MeshpassError agent_broker_answer_invalid */
  #take(sessionId: string, { statement, content }: WholeConfiguration): void {
    if (!this.#isCurrent(sessionId)) return;
    const { client, received, renewLease, askForKeys } = this.#options;
    const parsed = client.readConfiguration(content);
    const belief = this.received.whole(statement, content);
    if (belief.type === 'configuration') received({ version: belief.version, ...parsed });
    else if (belief.type === 'unsure') renewLease();
    else if (belief.type !== 'stale') {
      if (belief.type === 'unknown_key') askForKeys(sessionId);
      throw new MeshpassError(
        'agent_broker_answer_invalid',
        'The agent rejected the configuration: its signature or digest is invalid. The last valid one stays in use.',
      );
    }
  }
}
