/**
 * The configuration that the broker has for this session. A control channel brings it; it is asked for over HTTPS at the start of a
 * session, and when there is one that no channel has brought. What is older than what has come already is not taken.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { toMeshpassError } from '@meshpass/identity/error';
import type { ReceivedConfiguration } from './broker-answers.ts';
import type { BrokerClient } from './broker-client.ts';

export interface SessionConfigurationOptions {
  readonly client: Pick<BrokerClient, 'configuration'>;
  /** The session of this moment. */
  readonly session: () => { readonly id: string; readonly accessToken: string };
  /** In [0, 1). */
  readonly random: () => number;
  readonly received: (configuration: ReceivedConfiguration) => unknown;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 15_000;

export class SessionConfiguration {
  readonly #options: SessionConfigurationOptions;
  readonly #closing = new AbortController();
  #known: { readonly version: number; readonly sessionId: string } | undefined;
  #failure: string | undefined;
  #isWanted = false;
  #isAsking = false;

  constructor(options: SessionConfigurationOptions) {
    this.#options = options;
  }

  /** Why the last request failed; undefined where it did not. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Of what came last for the session of this moment. */
  get version(): number | undefined {
    return this.#knownOf(this.#options.session().id);
  }

  /** Asks the broker now, and until it has answered. */
  ask(): void {
    this.#isWanted = true;
    if (this.#isAsking) return;
    this.#isAsking = true;
    void this.#ask();
  }

  /** The broker has this version now. */
  announced(version: number): void {
    if (version !== this.version) this.ask();
  }

  /** Takes what has come for a session, unless it is another one's, or older than what came before. */
  take(sessionId: string, configuration: ReceivedConfiguration): void {
    const { session, received } = this.#options;
    if (this.#closing.signal.aborted || sessionId !== session().id) return;
    const { version } = configuration;
    if (version <= (this.#knownOf(sessionId) ?? 0)) return;
    this.#known = { version, sessionId };
    received(configuration);
  }

  close(): void {
    this.#closing.abort();
  }

  /** Another session may have other grants: what was known of the one before says nothing. */
  #knownOf(sessionId: string): number | undefined {
    return this.#known?.sessionId === sessionId ? this.#known.version : undefined;
  }

  async #ask(): Promise<void> {
    const { client, session, random, log } = this.#options;
    const { signal } = this.#closing;
    for (let failures = 0; this.#isWanted && !signal.aborted; ) {
      this.#isWanted = false;
      const { id, accessToken } = session();
      try {
        const configuration = await client.configuration(accessToken, this.#knownOf(id));
        if (configuration) this.take(id, configuration);
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
