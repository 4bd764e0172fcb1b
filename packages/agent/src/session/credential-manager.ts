/**
 * Keeps credentials fresh. Renews at half life with jitter, renews the lease, follows changes of services and roots, and
 * comes back by itself: while the broker is away, traffic goes on until the credentials expire; when the session is
 * gone, a new one is asked for with a new proof.
 */
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import type { RefusalReport } from '../access-log/report.ts';
import type { ReceivedConfiguration } from './broker-answers.ts';
import type { BrokerClient } from './broker-client.ts';
import { chainsToRoot } from './chains-to-root.ts';
import type { ProofSource } from './discover.ts';
import { type Credentials, enrol, obtainIdentityToken, obtainSvids } from './enrol.ts';
import { expired, halfLife } from './expiry.ts';

export interface CredentialManagerOptions {
  readonly client: BrokerClient;
  readonly source: ProofSource;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  /** Called after every change; `what` tells which part is new. */
  readonly onChange: (what: Change) => void;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
  /** What goes along with a heartbeat. */
  readonly report: Pick<RefusalReport, 'send' | 'clear'>;
}

export type Change = 'session' | 'svids' | 'services' | 'token';

export interface Health {
  /** When the broker last answered, milliseconds since the epoch. */
  readonly brokerAnsweredAt: number;
  /** The last failure, until the next success of the same task. */
  readonly failures: Readonly<Record<string, string>>;
}

type Task = 'heartbeat' | 'svids' | 'token' | 'services' | 'session';

const FIRST_RETRY = 1000;
const LONGEST_RETRY = 30_000;
/** Longest that a timer of Node waits, ms; one of more fires at once. */
const LONGEST_TIMER = 2_147_483_647;
/** Grants for which certificates are kept: as many as one request to the broker may name. */
const MOST_GRANTS = 32;
/** Of what is left of a credential, at most this share is waited before it is asked for again. */
const SHARE_OF_REST = 0.25;
/** No new session will be given: asking again and again would only be noise. */
const FINAL_FOR_SESSION = new Set([
  'agent_prebuild',
  'proof_prebuild',
  'workspace_not_owned',
  'proof_type_unsupported',
  'proof_token_kind',
]);

export class CredentialManager {
  readonly #options: CredentialManagerOptions;
  readonly #timers = new Map<Task, NodeJS.Timeout>();
  readonly #attempts = new Map<Task, number>();
  readonly #failures = new Map<Task, string>();
  #credentials: Credentials | undefined;
  #firstConfiguration: ReceivedConfiguration | undefined;
  /** Token of the session that was, or is being, opened last; undefined where none was given. */
  #opening: Promise<string | undefined> | undefined;
  #brokerAnsweredAt = 0;
  #closed = false;
  /** The session is gone, and another one has not been given yet. */
  #reopening = false;

  constructor(options: CredentialManagerOptions) {
    this.#options = options;
  }

  /** Enrols. @throws MeshpassError as `enrol` does */
  async start(): Promise<void> {
    await this.#enrol();
  }

  /** @throws MeshpassError agent_credentials_expired before the first enrolment */
  get credentials(): Credentials {
    if (!this.#credentials) throw expired('session');
    return this.#credentials;
  }

  /** The configuration that came with the session that is in use, if one did and was not taken before. */
  takeFirstConfiguration(): ReceivedConfiguration | undefined {
    const first = this.#firstConfiguration;
    this.#firstConfiguration = undefined;
    return first;
  }

  get health(): Health {
    return { brokerAnsweredAt: this.#brokerAnsweredAt, failures: Object.fromEntries(this.#failures) };
  }

  /** The identity token of this moment. @throws MeshpassError agent_credentials_expired */
  identityToken(): string {
    const { identityToken } = this.credentials;
    if (identityToken.expiresAt <= this.#options.now()) throw expired('identity token');
    return identityToken.value;
  }

  /** An ID token for an audience outside the mesh. @throws MeshpassError of the broker */
  async idToken(audience: string): Promise<{ readonly token: string; readonly expiresIn: number }> {
    const answer = await this.#options.client.token(this.credentials.accessToken, audience);
    return { token: answer.access_token, expiresIn: answer.expires_in };
  }

  /** Stops renewing and ends the session, also one that is being opened. Never throws: the lease ends what a goodbye could not. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
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
    const { credentials, configuration } = await enrolling.finally(() => opening.resolve(undefined));
    if (this.#closed) return; // with a goodbye to this session
    this.#credentials = credentials;
    this.#options.report.clear();
    this.#firstConfiguration = configuration;
    this.#reopening = false;
    this.#brokerAnsweredAt = now();
    this.#failures.clear();
    this.#attempts.clear();
    log('enrolled', { session: credentials.session.id, grants: credentials.session.grants.join(',') });
    onChange('session');
    // The version of the services is not in the answer to a proof; the first beat brings it.
    this.#later('heartbeat', credentials.session.heartbeat_seconds * 1000);
    this.#scheduleRenewals();
  }

  #scheduleRenewals(): void {
    const { svids, identityToken } = this.credentials;
    const first = Math.min(...[...svids.values()].map((svid) => svid.issuedAt + halfLife(svid)));
    if (Number.isFinite(first)) this.#later('svids', this.#jittered(first - this.#options.now()));
    this.#later('token', this.#jittered(identityToken.issuedAt + halfLife(identityToken) - this.#options.now()));
  }

  /** Up to a fifth earlier, so that many agents do not come at once. */
  #jittered(milliseconds: number): number {
    return Math.max(milliseconds * (1 - 0.2 * this.#options.random()), 500);
  }

  #later(task: Task, milliseconds: number): void {
    clearTimeout(this.#timers.get(task));
    if (this.#closed) return;
    this.#timers.set(
      task,
      setTimeout(() => void this.#run(task), Math.min(milliseconds, LONGEST_TIMER)),
    );
  }

  async #run(task: Task): Promise<void> {
    const { log, now } = this.#options;
    const used = this.#credentials?.accessToken;
    try {
      await this.#do(task);
      this.#brokerAnsweredAt = now();
      this.#attempts.delete(task);
      this.#failures.delete(task);
    } catch (thrown) {
      if (this.#closed) return;
      const error = toMeshpassError(thrown);
      this.#failures.set(task, error.message);
      log('renewal_failed', { task, code: error.code });
      if (task !== 'session' && (error.code === 'session_unknown' || error.code === 'session_closed')) {
        // Several tasks may be told so, the last of them when there is a new session already: that must not be thrown away.
        if (!this.#reopening && this.#credentials?.accessToken === used) this.#restart();
      } else if (!(task === 'session' && FINAL_FOR_SESSION.has(error.code))) {
        this.#later(task, this.#backoff(task, error));
      }
    }
  }

  /** The session is gone: everything under it is dead already, so there is only one task left. */
  #restart(): void {
    this.#reopening = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#later('session', 0);
  }

  #backoff(task: Task, error: MeshpassError): number {
    const attempt = this.#attempts.get(task) ?? 0;
    this.#attempts.set(task, attempt + 1);
    // A broker that comes back gives a lease no longer than it takes to beat twice: to pause for longer would lose the session.
    const beat = (this.#credentials?.session.heartbeat_seconds ?? Number.POSITIVE_INFINITY) * 1000;
    const longest = task === 'heartbeat' ? beat : Math.max(FIRST_RETRY, SHARE_OF_REST * this.#leftOf(task));
    const growing = Math.min(FIRST_RETRY * 2 ** attempt, longest, LONGEST_RETRY);
    return Math.max(growing * (0.5 + 0.5 * this.#options.random()), (error.retryAfter ?? 0) * 1000);
  }

  /** Milliseconds that what the task renews is still valid; a broker that comes and goes must be met before they are over. */
  #leftOf(task: Task): number {
    if (!this.#credentials || (task !== 'svids' && task !== 'token')) return Number.POSITIVE_INFINITY;
    const { svids, identityToken } = this.#credentials;
    const ends = task === 'token' ? [identityToken.expiresAt] : [...svids.values()].map(({ expiresAt }) => expiresAt);
    return Math.min(...ends) - this.#options.now();
  }

  async #do(task: Task): Promise<void> {
    switch (task) {
      case 'session':
        return this.#enrol();
      case 'heartbeat':
        return this.#heartbeat();
      case 'services':
        return this.#refreshServices();
      case 'svids':
        return this.#renewSvids(this.credentials.session.grants);
      case 'token':
        return this.#renewToken();
    }
  }

  async #heartbeat(): Promise<void> {
    const { client, report } = this.#options;
    const { accessToken, session, servicesVersion } = this.credentials;
    const beat = await report.send((refusals) => client.heartbeat(accessToken, refusals));
    if (this.#credentials?.accessToken !== accessToken) return;
    this.#later('heartbeat', session.heartbeat_seconds * 1000);
    const { services_version: version } = beat;
    if (version !== undefined && version !== servicesVersion) this.#later('services', 0);
    // Its key was dropped: no sidecar accepts it any more, however long it would live.
    const { kid } = this.credentials.identityToken;
    if (kid !== undefined && beat.token_keys?.includes(kid) === false) this.#later('token', 0);
  }

  async #refreshServices(): Promise<void> {
    const { client, onChange, log } = this.#options;
    const { accessToken } = this.credentials;
    const answer = await client.services(accessToken);
    if (this.#credentials?.accessToken !== accessToken) return;
    const before = this.credentials;
    const grants = [...new Set(answer.services.map((service) => service.grant))];
    if (grants.length > MOST_GRANTS) {
      throw new MeshpassError('agent_broker_answer_invalid', `The broker names more than ${MOST_GRANTS} grants.`);
    }
    const fresh = grants.filter((grant) => !before.svids.has(grant));
    // Grants come back, so that those of earlier are kept, but not for ever.
    const every = new Set([...grants, ...before.session.grants]);
    const held = [...every].slice(0, MOST_GRANTS);
    this.#credentials = {
      ...before,
      mesh: answer.mesh,
      services: answer.services,
      servicesVersion: answer.services_version,
      svids: new Map([...before.svids].filter(([grant]) => held.includes(grant))),
      session: { ...before.session, grants: held },
    };
    const { roots } = answer.mesh;
    const rerooted = roots.join() !== before.mesh.roots.join();
    if (rerooted) onChange('svids');
    if (fresh.length > 0) await this.#renewSvids(fresh);
    log('services_changed', { services: answer.services.length });
    onChange('services');
    // Where a root is gone, nobody trusts what was signed under it any more, however long it would live.
    const { svids } = this.credentials;
    if (rerooted && [...svids.values()].some(({ chain }) => !chainsToRoot(chain, roots))) this.#later('svids', 0);
  }

  async #renewSvids(grants: readonly string[]): Promise<void> {
    const { client, now, onChange } = this.#options;
    const { accessToken } = this.credentials;
    const { svids, roots } = await obtainSvids(client, accessToken, grants, now);
    if (this.#credentials?.accessToken !== accessToken) return;
    const before = this.credentials;
    this.#credentials = {
      ...before,
      svids: new Map([...before.svids, ...svids]),
      mesh: roots ? { ...before.mesh, roots } : before.mesh,
    };
    onChange('svids');
    this.#scheduleRenewals();
  }

  async #renewToken(): Promise<void> {
    const { client, now, onChange } = this.#options;
    const { accessToken } = this.credentials;
    const identityToken = await obtainIdentityToken(client, accessToken, now);
    if (this.#credentials?.accessToken !== accessToken) return;
    this.#credentials = { ...this.credentials, identityToken };
    onChange('token');
    this.#scheduleRenewals();
  }
}
