/**
 * Tracks the broker's configuration for the current session. A control channel delivers it. At the start of a session,
 * or if the channel has not delivered a known version, it is requested over HTTPS. Both ways deliver the same signed
 * header and bytes, which `received` verifies.
 */
import { setTimeout as sleep } from 'node:timers/promises';
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
  /** Requests the broker's keys for this session. */
  readonly askForKeys: (sessionId: string) => void;
  /** Returns a number in [0, 1). */
  readonly random: () => number;
  readonly received: (configuration: ReceivedConfiguration) => unknown;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 15_000;

export class SessionConfiguration {
  readonly #options: SessionConfigurationOptions;
  readonly #closing = new AbortController();
  #session: { readonly id: string; readonly received: Received } | undefined;
  #failure: string | undefined;
  #isWanted = false;
  #isAsking = false;

  constructor(options: SessionConfigurationOptions) {
    this.#options = options;
  }

  /** Why the last request failed, if it did. */
  get failure(): string | undefined {
    return this.#failure;
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
    this.ask();
  }

  /** Requests the configuration and retries until the broker answers. */
  ask(): void {
    this.#isWanted = true;
    if (this.#isAsking) return;
    this.#isAsking = true;
    void this.#ask();
  }

  /** Uses a configuration that `received` has verified. Requests it over HTTPS if it cannot be parsed. */
  use(sessionId: string, version: number, content: Buffer): void {
    if (!this.#isCurrent(sessionId)) return;
    try {
      this.#options.received({ version, ...this.#options.client.readConfiguration(content) });
    } catch (thrown) {
      // HTTPS returns the same configuration, and the status then shows the error.
      this.#options.log('configuration_failed', { code: toMeshpassError(thrown).code });
      this.ask();
    }
  }

  close(): void {
    this.#closing.abort();
  }

  #isCurrent(sessionId: string): boolean {
    return !this.#closing.signal.aborted && this.#session?.id === sessionId && this.#options.session().id === sessionId;
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

  async #ask(): Promise<void> {
    const { client, session, random, log } = this.#options;
    const { signal } = this.#closing;
    for (let failures = 0; this.#isWanted && !signal.aborted; ) {
      this.#isWanted = false;
      const { id, accessToken } = session();
      try {
        this.#take(id, await client.configuration(accessToken));
        if (session().id !== id) this.#isWanted = true;
        this.#failure = undefined;
        failures = 0;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = toMeshpassError(thrown);
        this.#failure = error.message;
        if (failures === 0) log('configuration_failed', { code: error.code });
        this.#isWanted = true;
        const growing = Math.min(FIRST_PAUSE * 2 ** failures++, LONGEST_PAUSE);
        const pause = Math.max(growing * (0.5 + 0.5 * random()), (error.retryAfter ?? 0) * 1000);
        await sleep(pause, undefined, { signal }).catch(() => {});
      }
    }
    this.#isAsking = false;
  }
}
