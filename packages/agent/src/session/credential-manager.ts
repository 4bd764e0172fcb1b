/**
 * Keeps credentials fresh. Renews at half life with jitter, renews the lease where the control channel does not, follows changes of
 * services and roots, and comes back by itself: while the broker is away, traffic goes on until the credentials expire; when the
 * session is gone, a new one is asked for with a new proof.
 */
import { toMeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import type { ReceivedConfiguration } from './broker-answers.ts';
import { chainsToRoot } from './chains-to-root.ts';
import { isFinal, isOver, isUnhurried } from './endings.ts';
import { type Credentials, enrol, obtainIdentityToken, obtainSvids, withCertificates } from './enrol.ts';
import { expired } from './expiry.ts';
import { isGained, type LeaseNews, withoutCertificate, withServices } from './granted.ts';
import type { CredentialManagerOptions, Health } from './health.ts';
import { longestPause, svidsDue, tokenDue, waitsForLease } from './renewal-times.ts';
import { TaskTimers } from './task-timers.ts';

export type { Change, CredentialManagerOptions } from './health.ts';

type Task = 'heartbeat' | 'svids' | 'token' | 'services' | 'session';

/** Of a heartbeat's period, over which agents that hear of a change at once spread their questions. */
const SPREAD = 0.5;
export class CredentialManager {
  readonly #options: CredentialManagerOptions;
  readonly #tasks: TaskTimers<Task>;
  #credentials: Credentials | undefined;
  #firstConfiguration: ReceivedConfiguration | undefined;
  /** Token of the session that was, or is being, opened last; undefined where none was given. */
  #opening: Promise<string | undefined> | undefined;
  #brokerAnsweredAt = 0;
  #lease: Health['lease'] = { by: 'https', since: 0 };
  /** The lease is renewed by the control channel, as far as is known. */
  #hasChannel = false;
  /** Grants of the session, as the last lease had them. */
  #set: string | undefined;
  #closed = false;
  /** The session is gone, and another one has not been given yet. */
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
        return !(task === 'session' ? isFinal(code) : isOver(code));
      },
      // One asks whether the broker is back: with each of four, all that come back at once bring four connections.
      waitsForOthers: (task, { code }) =>
        code === 'agent_broker_unreachable' && waitsForLease(task) && this.#tasks.failures.heartbeat !== undefined,
    });
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

  /** Token of the session that is in use; undefined while there is none. */
  get accessToken(): string | undefined {
    return this.#reopening ? undefined : this.#credentials?.accessToken;
  }

  /** There is something new to open a session with. */
  openSoon(): void {
    if (this.#reopening) this.#tasks.later('session', 0);
  }

  /** The configuration that came with the session that is in use, if one did and was not taken before. */
  takeFirstConfiguration(): ReceivedConfiguration | undefined {
    const first = this.#firstConfiguration;
    this.#firstConfiguration = undefined;
    return first;
  }

  get health(): Health {
    return { brokerAnsweredAt: this.#brokerAnsweredAt, failures: this.#tasks.failures, lease: this.#lease };
  }

  /** An ID token for an audience outside the mesh. @throws MeshpassError of the broker */
  async idToken(audience: string): Promise<{ readonly token: string; readonly expiresIn: number }> {
    const answer = await this.#options.client.token(this.credentials.accessToken, audience);
    return { token: answer.access_token, expiresIn: answer.expires_in };
  }

  /** The control channel has renewed the lease of this session: nothing is to be done over HTTPS. */
  leaseRenewed(sessionId: string, lease: LeaseNews): void {
    if (!this.#isCurrent(sessionId)) return;
    this.#hasChannel = true;
    if (this.#options.report.isEmpty) this.#tasks.settle('heartbeat');
    else this.#tasks.later('heartbeat', 0);
    this.#brokerAnsweredAt = this.#options.now();
    this.#renewedBy('channel');
    // What changes for one session may change for all, and all hear of it at once. What is gained the broker gives to one after the other.
    const spread = this.#options.random() * SPREAD * this.credentials.session.heartbeat_seconds * 1000;
    const gained = isGained(this.credentials, lease.set, this.#set);
    this.#set = lease.set;
    this.#learn(lease, gained ? 0 : spread, gained);
  }

  /** The control channel does not renew the lease of this session: it is renewed over HTTPS until it does. */
  channelSilent(sessionId: string): void {
    if (!this.#isCurrent(sessionId)) return;
    this.#hasChannel = false;
    this.#tasks.later('heartbeat', 0);
  }

  /** The broker says by the control channel that this session is over. */
  sessionEnded(sessionId: string, { cause, reason }: { readonly cause: string; readonly reason: string }): void {
    if (!this.#isCurrent(sessionId)) return;
    const { log, random } = this.#options;
    log('session_ended', { cause: plainText(cause) });
    const period = this.credentials.session.heartbeat_seconds * 1000;
    this.#restart(isUnhurried(cause) ? period * random() : 0);
    this.#tasks.note('session', `The session has ended: ${plainText(reason)}.`);
  }

  /** The broker signs with a key that is not known: its keys come with the services. */
  askForKeys(sessionId: string): void {
    if (this.#isCurrent(sessionId)) this.#tasks.later('services', 0);
  }

  /** Stops renewing and ends the session, also one that is being opened. Never throws: the lease ends what a goodbye could not. */
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
    const { client, source, now, onChange, hasChannel, log } = this.#options;
    const opening = Promise.withResolvers<string | undefined>();
    this.#opening = opening.promise;
    const enrolling = source.proof().then((proof) => enrol(client, proof, now, opening.resolve));
    const { credentials, configuration } = await enrolling.finally(() => opening.resolve(undefined));
    if (this.#closed) return; // with a goodbye to this session
    if (this.#credentials) this.#options.report.sessionChanged(this.#credentials.session.id);
    this.#credentials = credentials;
    this.#firstConfiguration = configuration;
    this.#reopening = false;
    this.#brokerAnsweredAt = now();
    this.#lease = { by: 'https', since: now() };
    this.#hasChannel = false;
    this.#tasks.forgive();
    log('enrolled', { session: credentials.session.id, grants: credentials.session.grants.join(',') });
    onChange('session');
    // The version of the services is not in the answer to a proof; the first renewal of the lease brings it.
    if (!hasChannel?.(credentials)) this.#tasks.later('heartbeat', credentials.session.heartbeat_seconds * 1000);
    this.#scheduleRenewals();
  }

  #scheduleRenewals(): void {
    const now = this.#options.now();
    const due = svidsDue(this.credentials, now);
    if (due !== undefined) this.#tasks.later('svids', this.#jittered(due));
    this.#tasks.later('token', this.#jittered(tokenDue(this.credentials, now)));
  }

  /** Up to a fifth earlier, so that many agents do not come at once. */
  #jittered(milliseconds: number): number {
    return Math.max(milliseconds * (1 - 0.2 * this.#options.random()), 500);
  }

  async #run(task: Task): Promise<void> {
    const used = this.#credentials?.accessToken;
    try {
      await this.#do(task);
    } catch (thrown) {
      // Several tasks may be told so, the last of them when there is a new session already: that must not be thrown away.
      const isGone = task !== 'session' && isOver(toMeshpassError(thrown).code);
      if (isGone && !this.#reopening && this.#credentials?.accessToken === used) this.#restart(0);
      throw thrown;
    }
  }

  /** The session is gone: everything under it is dead already, so there is only one task left. */
  #restart(pause: number): void {
    this.#reopening = true;
    this.#tasks.stop();
    this.#tasks.later('session', pause);
  }

  #isCurrent(sessionId: string): boolean {
    return !this.#closed && !this.#reopening && this.#credentials?.session.id === sessionId;
  }

  #renewedBy(by: 'channel' | 'https'): void {
    if (this.#lease.by !== by) this.#lease = { by, since: this.#options.now() };
  }

  #do(task: Task): Promise<void> {
    const tasks: Readonly<Record<Task, () => Promise<void>>> = {
      session: () => this.#enrol(),
      heartbeat: () => this.#heartbeat(),
      services: () => this.#refreshServices(),
      svids: () => this.#renewSvids(this.credentials.session.grants),
      token: () => this.#renewToken(),
    };
    return tasks[task]();
  }

  async #heartbeat(): Promise<void> {
    const { client, report } = this.#options;
    const { accessToken, session } = this.credentials;
    const beat = await report.send((refusals) => client.heartbeat(accessToken, refusals));
    // The channel may have come back meanwhile, or ended the session.
    if (!this.#isCurrent(session.id) || this.#hasChannel) return;
    this.#renewedBy('https');
    this.#tasks.later('heartbeat', session.heartbeat_seconds * 1000);
    this.#learn(beat, 0);
    if (beat.configuration_version !== undefined) this.#options.onConfigurationVersion?.(beat.configuration_version);
  }

  /** @param pause ms before the services are read anew @param sooner also where they would be later */
  #learn({ services_version: version, token_keys: keys }: LeaseNews, pause: number, sooner = false): void {
    const { servicesVersion, identityToken } = this.credentials;
    if (version !== undefined && version !== servicesVersion && (sooner || !this.#tasks.isDue('services')))
      this.#tasks.later('services', pause);
    // Its key was dropped: no sidecar accepts it any more, however long it would live.
    if (identityToken.kid !== undefined && keys?.includes(identityToken.kid) === false) this.#tasks.later('token', 0);
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
    if (fresh.length > 0) await this.#renewSvids(fresh, true);
    log('services_changed', { services: answer.services.length });
    onChange('services');
    // Where a root is gone, nobody trusts what was signed under it any more, however long it would live.
    const { svids } = this.credentials;
    if (rerooted && [...svids.values()].some(({ chain }) => !chainsToRoot(chain, roots))) this.#tasks.later('svids', 0);
  }

  /** @param withToken whether a token is to come with them: sidecars refuse one that does not name a grant that is new */
  async #renewSvids(grants: readonly string[], withToken = false): Promise<void> {
    const { client, now, onChange } = this.#options;
    const { accessToken } = this.credentials;
    const [certificates, identityToken] = await Promise.all([
      obtainSvids(client, accessToken, grants, now),
      withToken ? obtainIdentityToken(client, accessToken, now) : undefined,
    ]);
    if (this.#credentials?.accessToken !== accessToken) return;
    this.#credentials = withCertificates(this.credentials, certificates, identityToken);
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
