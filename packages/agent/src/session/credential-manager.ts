/**
 * Keeps the session's credentials fresh. The manager renews them halfway through their lifetime with some jitter,
 * renews the lease unless the control channel does, and follows changes to services and root certificates. It recovers
 * on its own: while the broker is unavailable, traffic continues until the credentials expire. If the session has
 * ended, the manager opens a new one with a new proof.
 */
import { MeshpassError, plainText, toMeshpassError } from '@meshpass/identity';
import type { LeaseStatement } from '@meshpass/identity/channel';
import type { RefusalReport } from '../access-log/report.ts';
import type { BrokerClient } from './broker-client.ts';
import type { ProofSource } from './discover.ts';
import {
  type Credentials,
  chainsToRoot,
  enrol,
  type IdentityToken,
  obtainIdentityToken,
  obtainSvids,
  withCertificates,
} from './enrol.ts';
import { hasNewGrant, withoutCertificate, withServices } from './granted.ts';
import { TaskTimers } from './task-timers.ts';

/** How a lease was renewed: through the control channel of an edge, or over HTTPS. */
export type LeaseTransport = 'channel' | 'https';

export interface CredentialManagerOptions {
  readonly client: BrokerClient;
  readonly source: ProofSource;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
  /** Returns a random number in [0, 1). */
  readonly random: () => number;
  /**
   * Called after every change to the credentials.
   * @param what the part of the credentials that has changed
   */
  readonly onChange: (what: Change) => void;
  /** Called each time the broker has completed a request over HTTPS. */
  readonly onBrokerAnswer?: () => void;
  /** Renews the lease of the current session over HTTPS, and calls `leaseRenewed` or `sessionEnded`. */
  readonly renewLease: () => Promise<void>;
  /** Requests the configuration of the current session over HTTPS. */
  readonly fetchConfiguration: () => Promise<void>;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
  /** The refusals to report to the broker. They are sent at most once per lease renewal. */
  readonly report: Pick<RefusalReport, 'isEmpty' | 'send' | 'sessionChanged'>;
}

export type Change = 'session' | 'svids' | 'services' | 'token';

type Task = 'heartbeat' | 'refusals' | 'svids' | 'token' | 'services' | 'configuration' | 'session';

/**
 * When a change reaches all agents at once, they spread their requests over this fraction of the heartbeat period.
 */
const SPREAD = 0.5;
export class CredentialManager {
  readonly #options: CredentialManagerOptions;
  readonly #tasks: TaskTimers<Task>;
  #credentials: Credentials | undefined;
  /** The token of the latest session, whether it is open or still being opened. Undefined if it could not be opened. */
  #opening: Promise<string | undefined> | undefined;
  #brokerAnsweredAt = 0;
  /**
   * The transport that last renewed the lease, and since when it has been in use. Opening a session counts as HTTPS.
   */
  #lease: { readonly by: LeaseTransport; readonly since: number } = { by: 'https', since: 0 };
  /** The grant set of the session, according to its last lease. */
  #set: string | undefined;
  #closed = false;
  /** Whether the session has ended and the next one has not been opened yet. */
  #reopening = false;

  constructor(options: CredentialManagerOptions) {
    this.#options = options;
    this.#tasks = new TaskTimers({
      random: options.random,
      run: (task) => this.#run(task),
      longestPause: (task) => longestPause(task, this.#credentials, options.now()),
      succeeded: () => {
        this.#brokerAnsweredAt = options.now();
        options.onBrokerAnswer?.();
      },
      failed: (task, { code }) => {
        options.log('renewal_failed', { task, code });
        return !(task === 'session' ? FINAL : OVER).has(code);
      },
      // Only one task checks whether the broker is back. If four tasks did, every agent would return with four
      // connections. Opening a session must not wait for a lease renewal, because there is no lease without a session.
      waitsForOthers: (task, { code }) =>
        code === 'agent_broker_unreachable' &&
        task !== 'heartbeat' &&
        task !== 'session' &&
        this.#tasks.failures.heartbeat !== undefined,
    });
  }

  /**
   * Enrols the workspace by opening its first session.
   * @throws MeshpassError like `enrol`
   */
  async start(): Promise<void> {
    await this.#enrol();
  }

  /**
   * The current credentials of the workspace.
   * @throws MeshpassError agent_credentials_expired before the first enrolment
   */
  get credentials(): Credentials {
    if (!this.#credentials) throw credentialExpiredError('session');
    return this.#credentials;
  }

  /** The token of the current session, or undefined if there is none. */
  get accessToken(): string | undefined {
    return this.#reopening ? undefined : this.#credentials?.accessToken;
  }

  /** Tries again to open a session immediately, because a new proof is available. */
  openSoon(): void {
    if (this.#reopening) this.#tasks.later('session', 0);
  }

  /**
   * When the broker last responded (in Unix milliseconds), the latest failure of each task that has not succeeded since
   * then, and how the lease is renewed.
   */
  get health() {
    return { answeredAt: this.#brokerAnsweredAt, failures: this.#tasks.failures, lease: this.#lease };
  }

  /**
   * Obtains an ID token for an audience outside the mesh.
   * @throws MeshpassError the broker's refusal
   */
  async idToken(audience: string): Promise<{ readonly token: string; readonly expiresIn: number }> {
    const answer = await this.#options.client.token(this.credentials.accessToken, audience);
    return { token: answer.access_token, expiresIn: answer.expires_in };
  }

  /**
   * Handles a lease renewal of the given session. After a renewal through the control channel, no heartbeat over HTTPS
   * is needed.
   */
  leaseRenewed(sessionId: string, lease: LeaseStatement, by: LeaseTransport): void {
    if (!this.#isCurrent(sessionId)) return;
    const { now, random, report } = this.#options;
    if (this.#lease.by !== by) this.#lease = { by, since: now() };
    if (by === 'channel') {
      this.#tasks.settle('heartbeat');
      this.#brokerAnsweredAt = now();
    }
    if (!report.isEmpty) this.#tasks.later('refusals', 0);
    const { session, servicesVersion, identityToken } = this.credentials;
    const { set, services_version: version, token_keys: keys } = lease;
    // A change for one session may affect all sessions at once, so requests are spread out after a renewal through the
    // channel. If the session has gained a grant, the services are requested immediately, because the broker announces
    // gained grants to one session after another.
    const spread = by === 'https' ? 0 : random() * SPREAD * session.heartbeat_seconds * 1000;
    const gained = hasNewGrant(this.credentials, set, this.#set);
    this.#set = set;
    if (version !== undefined && version !== servicesVersion && (gained || !this.#tasks.isDue('services')))
      this.#tasks.later('services', gained ? 0 : spread);
    // The token's key has been removed, so sidecars no longer accept the token, regardless of its remaining lifetime.
    if (identityToken.kid !== undefined && keys?.includes(identityToken.kid) === false) this.#tasks.later('token', 0);
  }

  /** Resumes renewing the lease of the given session over HTTPS, until the control channel renews it again. */
  channelSilent(sessionId: string): void {
    if (this.#isCurrent(sessionId)) this.#tasks.later('heartbeat', 0);
  }

  /** Handles the end of the given session, which was announced through the control channel. */
  sessionEnded(sessionId: string, { cause, reason }: { readonly cause: string; readonly reason: string }): void {
    if (!this.#isCurrent(sessionId)) return;
    const { log, random } = this.#options;
    log('session_ended', { cause: plainText(cause) });
    const period = this.credentials.session.heartbeat_seconds * 1000;
    this.#restart(UNHURRIED.has(cause) ? period * random() : 0);
    this.#tasks.note('session', `The session has ended: ${plainText(reason)}.`);
  }

  /**
   * Requests the services because a statement was signed with an unknown key. The response includes the broker's
   * current keys.
   */
  askForKeys(sessionId: string): void {
    if (this.#isCurrent(sessionId)) this.#tasks.later('services', 0);
  }

  /** Requests the configuration of the session over HTTPS. */
  askForConfiguration(): void {
    if (!this.#closed) this.#tasks.later('configuration', 0);
  }

  /**
   * Stops all renewals and ends the session, even if it is still being opened. This method never throws. If the request
   * to end the session fails, the session ends when its lease expires.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#tasks.close();
    const token = (await this.#opening) ?? this.#credentials?.accessToken;
    if (token !== undefined) {
      await this.#options.client.goodbye(token).catch((error: unknown) => {
        this.#options.log('goodbye_failed', { code: toMeshpassError(error).code });
      });
    }
    this.#options.client.close();
  }

  async #enrol(): Promise<void> {
    const { client, source, now, onChange, log } = this.#options;
    const opening = Promise.withResolvers<string | undefined>();
    this.#opening = opening.promise;
    const enrolling = source.proof().then((proof) => enrol(client, proof, now, opening.resolve));
    const credentials = await enrolling.finally(() => opening.resolve(undefined));
    if (this.#closed) return; // close() ends this session
    if (this.#credentials) this.#options.report.sessionChanged(this.#credentials.session.id);
    this.#credentials = credentials;
    this.#reopening = false;
    this.#brokerAnsweredAt = now();
    this.#lease = { by: 'https', since: now() };
    this.#tasks.forgive();
    log('enrolled', { session: credentials.session.id, grants: credentials.session.grants.join(',') });
    // The response to a proof does not include the services version, so it is provided by the first lease renewal.
    onChange('session');
    this.#scheduleRenewals();
  }

  #scheduleRenewals(): void {
    const { svids, identityToken } = this.credentials;
    this.#scheduleRenewal('svids', [...svids.values()]);
    this.#scheduleRenewal('token', [identityToken]);
  }

  /**
   * Schedules a renewal for the time when the first of the credentials is halfway through its lifetime. The delay is
   * shortened by up to a fifth, so that agents do not all renew at the same time.
   */
  #scheduleRenewal(
    task: Task,
    credentials: readonly { readonly issuedAt: number; readonly expiresAt: number }[],
  ): void {
    if (credentials.length === 0) return;
    const { now, random } = this.#options;
    const due = Math.min(...credentials.map(({ issuedAt, expiresAt }) => (issuedAt + expiresAt) / 2)) - now();
    this.#tasks.later(task, Math.max(due * (1 - 0.2 * random()), 500));
  }

  async #run(task: Task): Promise<void> {
    const used = this.#credentials?.accessToken;
    try {
      await this.#do(task);
    } catch (thrown) {
      // More than one task may fail for the same reason, and the last may fail after a new session has been opened.
      // That session must not be discarded.
      const isGone = task !== 'session' && OVER.has(toMeshpassError(thrown).code);
      if (isGone && !this.#reopening && this.#credentials?.accessToken === used) this.#restart(0);
      throw thrown;
    }
  }

  /** Schedules only the opening of a new session, because nothing can be renewed in a session that has ended. */
  #restart(pause: number): void {
    this.#reopening = true;
    this.#tasks.stop();
    this.#tasks.later('session', pause);
  }

  #isCurrent(sessionId: string): boolean {
    return !this.#closed && !this.#reopening && this.#credentials?.session.id === sessionId;
  }

  #do(task: Task): Promise<void> {
    const tasks: Readonly<Record<Task, () => Promise<void>>> = {
      session: () => this.#enrol(),
      heartbeat: () => this.#heartbeat(),
      refusals: () => this.#reportRefusals(),
      services: () => this.#refreshServices(),
      configuration: () => this.#options.fetchConfiguration(),
      svids: () => this.#renew('svids', this.credentials.session.grants),
      token: () => this.#renew('token', [], true),
    };
    return tasks[task]();
  }

  async #heartbeat(): Promise<void> {
    const { session } = this.credentials;
    await this.#options.renewLease();
    // The channel does not renew the lease during this request. Its next renewal settles this task.
    if (this.#isCurrent(session.id)) this.#tasks.later('heartbeat', session.heartbeat_seconds * 1000);
  }

  async #reportRefusals(): Promise<void> {
    const { client, report } = this.#options;
    const { accessToken } = this.credentials;
    await report.send((refusals) => client.reportRefusals(accessToken, refusals));
  }

  async #refreshServices(): Promise<void> {
    const { client, onChange, log } = this.#options;
    const { accessToken } = this.credentials;
    const answer = await client.services(accessToken);
    if (this.#credentials?.accessToken !== accessToken) return;
    const before = this.credentials;
    this.#credentials = withServices(before, answer);
    const fresh = withoutCertificate(this.#credentials);
    const { roots } = answer.mesh;
    const rerooted = roots.join() !== before.mesh.roots.join();
    if (rerooted) onChange('svids');
    // Sidecars reject a token that does not include a newly gained grant.
    if (fresh.length > 0) await this.#renew('svids', fresh, true);
    log('services_changed', { services: answer.services.length });
    onChange('services');
    // If a root certificate was removed, the certificates below it are no longer trusted, regardless of their lifetime.
    const { svids } = this.credentials;
    if (rerooted && [...svids.values()].some(({ chain }) => !chainsToRoot(chain, roots))) this.#tasks.later('svids', 0);
  }

  /**
   * Renews the certificates of the given grants, and the identity token if `withToken` is set.
   * @param what the change to report to `onChange`
   */
  async #renew(what: 'svids' | 'token', grants: readonly string[], withToken = false): Promise<void> {
    const { client, now, onChange } = this.#options;
    const { accessToken } = this.credentials;
    const [certificates, identityToken] = await Promise.all([
      obtainSvids(client, accessToken, grants, now),
      withToken ? obtainIdentityToken(client, accessToken, now) : undefined,
    ]);
    if (this.#credentials?.accessToken !== accessToken) return;
    if (identityToken) this.#followKey(identityToken);
    this.#credentials = withCertificates(this.credentials, certificates, identityToken);
    onChange(what);
    this.#scheduleRenewals();
  }

  /**
   * Requests new statement keys after the token key has changed, which the broker itself has reported. Otherwise, an
   * attacker (or an edge) with the previous statement keys could continue to impersonate the broker, and the agent
   * would never request new ones.
   */
  #followKey({ kid }: IdentityToken): void {
    if (kid !== this.credentials.identityToken.kid) this.#tasks.later('services', 0);
  }
}

/** Creates the error that callers receive when no valid credential is left. */
export function credentialExpiredError(what: string): MeshpassError {
  return new MeshpassError(
    'agent_credentials_expired',
    `The ${what} has expired and the broker has not issued a new one yet. The agent keeps trying. Run meshpass status to see the reason.`,
    { retryAfter: 5 },
  );
}

/** The maximum pause between two renewal attempts, as a fraction of the credential's remaining lifetime. */
const SHARE_OF_REST = 0.25;
const LONGEST_PAUSE = 30_000;

/**
 * Returns the maximum pause after a failure, in milliseconds.
 * @param credentials the current credentials, or undefined before the first enrolment
 */
function longestPause(task: string, credentials: Credentials | undefined, now: number): number {
  if (!credentials) return LONGEST_PAUSE;
  const { session, svids, identityToken } = credentials;
  // A recovering broker extends leases by only about two heartbeat periods, so a longer pause would lose the session.
  if (task === 'heartbeat') return Math.min(session.heartbeat_seconds * 1000, LONGEST_PAUSE);
  if (task !== 'svids' && task !== 'token') return LONGEST_PAUSE;
  const ends = task === 'token' ? [identityToken.expiresAt] : [...svids.values()].map(({ expiresAt }) => expiresAt);
  const left = Math.min(...ends) - now;
  // If the broker is only reachable intermittently, it must be reached before the credential expires. After that, there
  // is no hurry, because every workspace is in the same situation.
  return left > 0 ? Math.min(SHARE_OF_REST * left, LONGEST_PAUSE) : LONGEST_PAUSE;
}

// The following sets classify why a session has ended, or why the broker refuses to open a new one.

/** The error codes that mean that the session has ended. */
const OVER = new Set<string>(['session_unknown', 'session_closed']);
/** The error codes after which there is no point in trying again, because the broker will not open a session. */
const FINAL = new Set([
  'agent_prebuild',
  'proof_prebuild',
  'workspace_not_owned',
  'proof_type_unsupported',
  'proof_token_kind',
]);
/**
 * The causes after which the agent waits for a random time before it opens another session. They either affect many
 * sessions at once, or could make two agents of the same workspace replace each other's session in a loop.
 */
const UNHURRIED = new Set(['access_removed', 'issuer_removed', 'membership_lost', 'store_restored', 'replaced']);
