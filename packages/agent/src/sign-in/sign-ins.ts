/**
 * Manages the sign-ins of this workspace. Refresh tokens are only kept in memory. The agent regularly sends a fresh ID
 * token to the broker, because the broker does not trust the agent's claim that a user is still signed in.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { SignInOffer, type SignInState, SignInsResponse, signInNonce } from '@meshpass/identity/sign-in';
import type { BrokerClient } from '../session/broker-client.ts';
import type { WaitingSignIn } from '../session/discover.ts';
import { createIssuerClient, type IssuerClient, type IssuerTokens, type SignInPrompt } from './device-flow.ts';
import type { IssuerRequester } from './issuer-http.ts';

export type SignInBrokerClient = ReturnType<typeof createSignInBrokerClient>;

/**
 * Creates the broker client for sign-ins. Its methods throw a MeshpassError: the broker's refusal,
 * agent_broker_unreachable or agent_broker_answer_invalid.
 */
export function createSignInBrokerClient(client: Pick<BrokerClient, 'call'>) {
  const path = '/session/sign-in';
  return {
    /** Returns the OAuth client that users sign in with at an issuer in the access file. */
    offer: (name: string) => client.call({ method: 'GET', path: `/sign-in/${encodeURIComponent(name)}` }, SignInOffer),
    read: (accessToken: string) => client.call({ method: 'GET', path, accessToken }, SignInsResponse),
    signIn: (accessToken: string, issuer: string, idToken: string) =>
      client.call({ method: 'POST', path, accessToken, json: { issuer, id_token: idToken } }, SignInsResponse),
    signOut: (accessToken: string, issuer: string) =>
      client.call({ method: 'POST', path: '/session/sign-out', accessToken, json: { issuer } }, SignInsResponse),
  };
}

export interface SignInsOptions {
  readonly broker: SignInBrokerClient;
  readonly ask: IssuerRequester;
  /** The RFC 7638 thumbprint of the session key. */
  readonly jkt: string;
  /** Returns the token of the current session, or undefined if there is no session. */
  readonly accessToken: () => string | undefined;
  /** Called when a completed sign-in is available for a new session. */
  readonly onWaiting: () => void;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
  /** Returns a random number in [0, 1). */
  readonly random: () => number;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

interface Held {
  readonly issuer: IssuerClient;
  tokens: IssuerTokens;
  state: SignInState | undefined;
  timer: NodeJS.Timeout | undefined;
}

interface Flow {
  readonly prompt: SignInPrompt;
  readonly done: Promise<void>;
  readonly abort: AbortController;
}

/** A sign-in as shown by `meshpass status`. All times are in Unix milliseconds. */
export interface SignInStatus {
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  readonly since: number;
  readonly until: number;
  /** The reason why the last confirmation failed. */
  readonly failure?: string;
}

/** The next ID token is sent at a random time between these two fractions of the broker's time limit. */
const EARLIEST = 0.3;
const LATEST = 0.42;
const RETRY_MS = 3_000;

export class SignIns {
  readonly #options: SignInsOptions;
  readonly #held = new Map<string, Held>();
  readonly #flows = new Map<string, Flow>();
  readonly #failures = new Map<string, string>();
  #closed = false;

  constructor(options: SignInsOptions) {
    this.#options = options;
  }

  /**
   * Starts a sign-in at an issuer.
   * @param asked the name of the issuer. Defaults to the only one that is possible
   * @returns the instructions for the user
   * @throws MeshpassError usage, sign_in_unknown, agent_sign_in_failed, or the broker's refusal
   */
  async begin(asked?: string): Promise<SignInPrompt> {
    const name = asked ?? onlyIssuer(await this.ofSession());
    this.#flows.get(name)?.abort.abort();
    const { broker, ask, jkt, now } = this.#options;
    const issuer = await createIssuerClient(await broker.offer(name), ask, now);
    const flow = await issuer.begin(signInNonce(jkt));
    const abort = new AbortController();
    const done = issuer
      .finish(flow, (ms) => wait(ms, abort.signal))
      .then((tokens) => this.#signedIn({ issuer, tokens, state: undefined, timer: undefined }));
    done.catch(() => {}); // a failure is reported by result()
    this.#flows.set(name, { prompt: flow.prompt, done, abort });
    return flow.prompt;
  }

  /**
   * Waits for a sign-in to end.
   * @param patience the maximum time to wait, in milliseconds
   * @returns whether the sign-in has been completed
   * @throws MeshpassError the reason why the sign-in failed
   */
  async result(name: string, patience: number): Promise<boolean> {
    const flow = this.#flows.get(name);
    if (!flow) throw new MeshpassError('usage', 'No sign-in is in progress. Run meshpass sign-in.');
    return await Promise.race([flow.done.then(() => true), sleep(patience, false, { ref: false })]);
  }

  /**
   * Returns the sign-ins of the session, and those that its grants still require.
   * @throws MeshpassError the broker's refusal
   */
  async ofSession(): Promise<SignInsResponse> {
    const token = this.#options.accessToken();
    return token === undefined ? { sign_ins: [], lacking: [] } : await this.#options.broker.read(token);
  }

  /** Returns the ID token of a sign-in that has not been used for a session yet. Each token is returned only once. */
  takeWaiting(): WaitingSignIn | undefined {
    for (const held of this.#held.values()) {
      if (held.state) continue;
      // Only the broker knows when the sign-in expires. `sessionChanged()` obtains this from the session that was
      // opened with this token.
      const { name } = held.issuer;
      held.state = unconfirmed(name, this.#options.now());
      return { issuer: name, token: held.tokens.idToken };
    }
    return undefined;
  }

  /** Updates the sign-ins for a new session, which only includes the ones that it was opened with. */
  async sessionChanged(): Promise<void> {
    if (this.#held.size === 0) return;
    const answer = await this.ofSession();
    for (const [name, held] of this.#held) {
      if (this.#schedule(held, answer)) continue;
      if (held.state) this.#drop(name, 'The session with this sign-in has ended. Run meshpass sign-in.');
    }
  }

  /**
   * Signs out at the given issuer, or at all issuers if none is given.
   * @returns the names of the issuers where the user was signed in
   */
  async signOut(name?: string): Promise<readonly string[]> {
    const names = [...this.#held.keys()].filter((one) => name === undefined || one === name);
    for (const one of names) await this.#end(one);
    this.#failures.clear();
    return names;
  }

  get status(): readonly SignInStatus[] {
    return [...this.#held.values()].flatMap(({ state }) => {
      if (!state) return [];
      const { issuer, subject, login, since, until } = state;
      const failure = this.#failures.get(issuer);
      return [{ issuer, subject, login, since: since * 1000, until: until * 1000, ...(failure && { failure }) }];
    });
  }

  /** The reasons why sign-ins have ended, by issuer. */
  get notes(): readonly string[] {
    return [...this.#failures]
      .filter(([name]) => !this.#held.has(name))
      .map(([name, why]) => `Sign-in at ${name}: ${why}`);
  }

  /** Revokes all refresh tokens and discards the sign-ins. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { abort } of this.#flows.values()) abort.abort();
    const given = [...this.#held.values()];
    this.#held.clear();
    for (const { timer } of given) clearTimeout(timer);
    await Promise.all(given.map((held) => this.#revoke(held)));
  }

  /** Revokes the refresh token. Otherwise, the provider might continue to accept it after the user has signed out. */
  async #revoke({ issuer, tokens: { refreshToken } }: Held): Promise<void> {
    if (refreshToken !== undefined) await issuer.revoke(refreshToken);
  }

  async #signedIn(held: Held): Promise<void> {
    const { accessToken, broker, onWaiting, log } = this.#options;
    const { name } = held.issuer;
    const token = accessToken();
    clearTimeout(this.#held.get(name)?.timer);
    this.#failures.delete(name);
    if (token === undefined) {
      this.#held.set(name, held);
      return onWaiting();
    }
    const answer = await broker.signIn(token, name, held.tokens.idToken);
    this.#held.set(name, held);
    log('signed_in', { issuer: name });
    this.#schedule(held, answer);
  }

  /** @returns whether the session has the sign-in */
  #schedule(held: Held, { sign_ins: states }: SignInsResponse): boolean {
    clearTimeout(held.timer);
    const state = states.find(({ issuer }) => issuer === held.issuer.name);
    if (this.#closed || !state) return false;
    held.state = state;
    if (state.confirm_seconds !== undefined && held.tokens.refreshToken !== undefined) {
      const share = EARLIEST + (LATEST - EARLIEST) * this.#options.random();
      this.#later(held, state.confirm_seconds * 1000 * share);
    }
    return true;
  }

  #later(held: Held, ms: number): void {
    held.timer = setTimeout(() => void this.#confirm(held), ms);
    held.timer.unref();
  }

  async #confirm(held: Held): Promise<void> {
    const { broker, accessToken, log } = this.#options;
    const { name } = held.issuer;
    try {
      const fresh = await held.issuer.refresh(held.tokens.refreshToken!);
      if (this.#held.get(name) !== held) return;
      if (!fresh) {
        log('sign_in_over', { issuer: name });
        return await this.#end(
          name,
          `${name} did not confirm the sign-in, which has ended there. Run meshpass sign-in.`,
        );
      }
      held.tokens = fresh;
      const token = accessToken();
      if (token === undefined) return this.#later(held, RETRY_MS);
      const answer = await broker.signIn(token, name, fresh.idToken);
      this.#failures.delete(name);
      if (this.#held.get(name) === held) this.#schedule(held, answer);
    } catch (thrown) {
      const { code, message } = toMeshpassError(thrown);
      log('sign_in_not_confirmed', { issuer: name, code });
      if (this.#held.get(name) !== held) return;
      this.#failures.set(name, message);
      // The broker no longer accepts the sign-in, so the user must sign in again.
      if (code.startsWith('sign_in_') && code !== 'sign_in_stale') {
        this.#drop(name, message);
        await this.#revoke(held);
      } else this.#later(held, RETRY_MS * (1 + this.#options.random()));
    }
  }

  async #end(name: string, why?: string): Promise<void> {
    const held = this.#held.get(name);
    if (!held) return;
    const { accessToken, broker, log } = this.#options;
    this.#drop(name, why);
    const token = accessToken();
    if (token !== undefined)
      await broker.signOut(token, name).catch((thrown: unknown) => {
        // If the broker receives no more confirmations, it ends the sign-in on its own.
        log('sign_out_failed', { issuer: name, code: toMeshpassError(thrown).code });
      });
    await this.#revoke(held);
  }

  #drop(name: string, why?: string): void {
    clearTimeout(this.#held.get(name)?.timer);
    this.#held.delete(name);
    if (why === undefined) this.#failures.delete(name);
    else this.#failures.set(name, why);
  }
}

/**
 * Returns the only issuer that the session's grants still require. If they require none, returns the only issuer that
 * exists.
 * @throws MeshpassError usage
 */
function onlyIssuer({ lacking, issuers }: SignInsResponse): string {
  const wanted = [...new Set(lacking.map(({ issuer }) => issuer))];
  const among = wanted.length > 0 || !issuers ? wanted : issuers;
  const [first, ...more] = among;
  if (first !== undefined && more.length === 0) return first;
  if (first !== undefined)
    throw new MeshpassError('usage', `Specify the issuer: meshpass sign-in --issuer NAME, one of ${among.join(', ')}.`);
  throw new MeshpassError(
    'usage',
    issuers
      ? 'The access file has no issuer at which users can sign in (trust.issuers with "signIn").'
      : 'Specify the issuer: meshpass sign-in --issuer NAME (none of your grants is waiting for a sign-in).',
  );
}

function unconfirmed(issuer: string, now: number): SignInState {
  const at = Math.floor(now / 1000);
  return { issuer, subject: '', login: '', since: at, until: at, amr: [] };
}

/** @throws MeshpassError agent_sign_in_refused if the signal is aborted */
function wait(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal }).catch(() => {
    throw new MeshpassError(
      'agent_sign_in_refused',
      'Another sign-in at this issuer has started, so this one was canceled.',
    );
  });
}
