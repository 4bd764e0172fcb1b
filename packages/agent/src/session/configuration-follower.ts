/** Follows the configuration that the broker has for this session: one request waits at the broker for the next version. */
import { setTimeout as sleep } from 'node:timers/promises';
import { toMeshpassError } from '@meshpass/identity/error';
import type { ReceivedConfiguration } from './broker-answers.ts';
import type { BrokerClient } from './broker-client.ts';

export interface FollowerOptions {
  readonly client: BrokerClient;
  /** The session token of this moment. */
  readonly accessToken: () => string;
  /** The configuration that came with that session; once. */
  readonly first?: () => ReceivedConfiguration | undefined;
  /** In [0, 1). */
  readonly random: () => number;
  readonly received: (configuration: ReceivedConfiguration) => void;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 15_000;
/** Between two answers, whatever they are: a broker that answers at once must not keep the agent busy. */
const SHORTEST_PAUSE = 50;

export class ConfigurationFollower {
  readonly #options: FollowerOptions;
  readonly #closing = new AbortController();
  #failure: string | undefined;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Why the last request failed; undefined where it did not. */
  get failure(): string | undefined {
    return this.#failure;
  }

  start(): void {
    void this.#follow();
  }

  close(): void {
    this.#closing.abort();
  }

  async #follow(): Promise<void> {
    const { client, accessToken, received, random, log } = this.#options;
    let known: { readonly version: number; readonly token: string } | undefined;
    let failures = 0;
    while (!this.#closing.signal.aborted) {
      let pause = SHORTEST_PAUSE;
      try {
        const token = accessToken();
        // Another session may have other grants: what was known of the one before says nothing.
        const version = known?.token === token ? known.version : undefined;
        const configuration = this.#options.first?.() ?? (await client.configuration(token, version));
        if (this.#closing.signal.aborted) return;
        if (token !== accessToken()) continue;
        if (configuration) {
          known = { version: configuration.version, token };
          received(configuration);
        }
        this.#failure = undefined;
        failures = 0;
      } catch (thrown) {
        if (this.#closing.signal.aborted) return;
        const error = toMeshpassError(thrown);
        this.#failure = error.message;
        if (failures === 0) log('configuration_failed', { code: error.code });
        const growing = Math.min(FIRST_PAUSE * 2 ** failures++, LONGEST_PAUSE);
        pause = Math.max(growing * (0.5 + 0.5 * random()), (error.retryAfter ?? 0) * 1000);
      }
      await sleep(pause, undefined, { signal: this.#closing.signal }).catch(() => {});
    }
  }
}
