/** The workspace's Envoy and what it is given: checked configuration, secrets, the loopback proxy; and what it says in return. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CLUSTER, type Refusal as ConfigurationRefusal, LISTENER, SECRET } from '@meshpass/envoy';
import { plainText } from '@meshpass/identity/text';
import { Refusals } from './access-log/refusals.ts';
import type { RefusalReport } from './access-log/report.ts';
import type { DataPlaneStatus } from './control/status.ts';
import type { ListenerState } from './envoy/admin.ts';
import type { LaunchedEnvoy } from './envoy/launch-envoy.ts';
import type { EnvoySupervisor } from './envoy/supervisor.ts';
import { TunnelReplacement } from './envoy/tunnel-replacement.ts';
import { WarmTunnels } from './envoy/warm-tunnels.ts';
import { type AskedCall, type ExplainAnswer, explainAnswer } from './explain/answer.ts';
import { kubernetesGrants } from './kubernetes/addresses.ts';
import { LOOPBACK, proxyListensOn, proxyNotes } from './proxy/listening.ts';
import { type LoopbackProxy, newLoopbackProxy } from './proxy/loopback-proxy.ts';
import { Principals } from './sds/principals.ts';
import { nextExpiry, secretsOf } from './sds/secrets.ts';
import type { ReceivedConfiguration } from './session/broker-answers.ts';
import type { Change } from './session/credential-manager.ts';
import type { Credentials } from './session/enrol.ts';
import { resourcesOfWorkspace } from './workspace-resources.ts';
import { type Accepted, acceptConfiguration } from './xds/accept.ts';
import type { Answered } from './xds/discovery.ts';
import { Lingering } from './xds/lingering.ts';
import { ResourceStore } from './xds/resource-store.ts';
import { serveEnvoySocket } from './xds/serve.ts';
import { CLUSTER_HEADER, clustersToWarm } from './xds/warm-up.ts';

export interface DataPlaneOptions {
  readonly launched: LaunchedEnvoy;
  readonly clusterDomain: string;
  /** 0 for any. */
  readonly proxyPort: number;
  /** Where the proxy listens for containers too. */
  readonly bridgeAddress?: string | undefined;
  /** PEM of the roots that the edge is verified with. */
  readonly edgeRoots: string;
  /** Asked only after `credentialsChanged`. */
  readonly credentials: () => Credentials;
  /** Takes what the broker is to be told of refusals. */
  readonly report: RefusalReport;
  /** Whether Envoy may listen on a port. */
  readonly mayListenOn: (port: number) => boolean;
  /** Told which addresses (`127.64.1.2:8080`) Envoy listens on, when they may have changed. */
  readonly listening: (addresses: ReadonlySet<string>) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

const NOT_USED =
  'The configuration that the broker sent breaks a rule of this workspace and is not used; the last good one is.';
const NONE_YET = 'The broker has not sent a configuration yet: no service can be reached.';
const LONGEST_REASON = 600;
/** Longest that a timer of Node waits, ms. */
const LONGEST_TIMER = 2_147_483_647;
const LISTENING_POLL = 10;
/** Longest that names wait for listeners that do not come, ms. */
const LONGEST_LISTENING = 3_000;

export class DataPlane {
  readonly #options: DataPlaneOptions;
  readonly #configuration = new ResourceStore();
  readonly #secrets = new ResourceStore();
  readonly #refusals: Refusals;
  readonly #envoy: EnvoySupervisor;
  readonly #socket: { close(): void };
  readonly #rejections = new Map<string, string>();
  readonly proxy: LoopbackProxy;
  #received: ReceivedConfiguration | undefined;
  readonly #lingering = new Lingering();
  #accepted: (Accepted & { readonly refused?: undefined }) | undefined;
  #acceptedFrom: ReceivedConfiguration | undefined;
  #refused: readonly ConfigurationRefusal[] = [];
  #tellings = 0;
  readonly #tunnels: WarmTunnels;
  readonly #replacement: TunnelReplacement;
  readonly #principals = new Principals();
  #drainingAt: number | undefined;
  #expiryTimer: NodeJS.Timeout | undefined;
  #firstReceived: () => void = () => {};
  readonly #hasConfiguration: Promise<void>;

  private constructor(options: DataPlaneOptions, proxy: LoopbackProxy) {
    this.#options = options;
    this.proxy = proxy;
    this.#refusals = new Refusals({
      ...{ now: options.now, report: options.report },
      services: () => options.credentials().services,
      proxyPort: proxy.port,
    });
    this.#hasConfiguration = new Promise((resolve) => {
      this.#firstReceived = resolve;
    });
    this.#envoy = options.launched.supervisor;
    this.#tunnels = new WarmTunnels({
      ...{ socketPath: options.launched.warmUpSocket, header: CLUSTER_HEADER },
      clusters: () =>
        clustersToWarm(options.credentials().services, new Set(this.#accepted?.resources[CLUSTER]?.keys() ?? [])),
    });
    this.#replacement = new TunnelReplacement(options.random, (generation) => {
      options.log('tunnels_replaced', { generation });
      this.#give();
    });
    this.#socket = serveEnvoySocket({
      socket: options.launched.socket,
      configuration: this.#configuration,
      secrets: this.#secrets,
      answered: (answer) => this.#answered(answer),
      logged: (entries) => this.#refusals.take(entries),
    });
  }

  /** Answers an Envoy that has been started. It gets what it asks for when there are credentials, and listens once there is a configuration. */
  static async start(options: DataPlaneOptions): Promise<DataPlane> {
    return new DataPlane(options, await newLoopbackProxy(options.proxyPort));
  }

  /** Waits until Envoy listens with the first configuration, at most for so many milliseconds. */
  async ready(within: number): Promise<void> {
    const deadline = performance.now() + within;
    await Promise.race([this.#hasConfiguration, new Promise((resolve) => setTimeout(resolve, within).unref())]);
    // Without a configuration of the broker there is still the way to everything else.
    if (!this.#accepted) this.#give();
    await this.#envoy.ready(Math.max(deadline - performance.now(), 1_000));
    await this.#tellListening();
    this.#tunnels.begin(this.#envoy.pid);
  }

  /** What the broker has for this session now. */
  configure(configuration: ReceivedConfiguration): void {
    this.#received = configuration;
    this.#give();
  }

  /** What was received last, and what became of it. */
  get received(): { readonly version: number; readonly state: 'applied' | 'refused' } | undefined {
    if (!this.#received) return undefined;
    const { version } = this.#received;
    return { version, state: this.#acceptedFrom === this.#received ? 'applied' : 'refused' };
  }

  /** Session, certificates, token or services are new. A token stands in no resource but its secret. */
  credentialsChanged(what: Change): void {
    if (what === 'session') this.#lingering.clear();
    if (this.#principals.given(this.#options.credentials().svids, what === 'session')) this.#replacement.atOnce();
    this.#giveSecrets();
    if (what === 'token') return;
    if (this.#accepted || this.#received) this.#give();
  }

  /** Of an edge that is about to end, the newest so many ms old. An edge says so: it may be wrong. */
  tunnelsDraining(newestMs: number): void {
    this.#drainingAt = this.#options.now();
    this.#replacement.draining(newestMs);
  }

  async status(): Promise<DataPlaneStatus> {
    const { admin, pid, version, restarts, lastEnd } = this.#envoy;
    const [listeners, clusters] = await Promise.all([admin.listeners(), admin.clusters()]).catch(
      () => [[], []] as const,
    );
    return {
      envoy: {
        ...{ version, restarts },
        ...(pid === undefined ? {} : { pid }),
        ...(lastEnd === undefined ? {} : { lastEnd }),
        listeners: listeners.filter(({ address }) => address !== undefined),
        clusters,
      },
      configuration: {
        ...(this.#acceptedFrom === undefined ? {} : { version: this.#acceptedFrom.version }),
        refused: this.#refused.map(({ resource, path, reason }) =>
          plainText(`${resource}${path && ` at ${path}`}: ${reason}`.slice(0, LONGEST_REASON)),
        ),
        rejected: [...this.#rejections.values()],
        leftOut: this.#received?.leftOut ?? [],
      },
      ...(this.#drainingAt !== undefined && {
        draining: { at: this.#drainingAt, replaced: this.#replacement.forEdges },
      }),
      refusals: this.#refusals.last,
      proxy: { host: '127.0.0.1', port: this.proxy.port },
      notes: this.#notes(listeners),
    };
  }

  /** What is known of a call before it is made. */
  async explain(call: AskedCall): Promise<ExplainAnswer> {
    const listeners = await this.#envoy.admin.listeners().catch(() => []);
    const listening = listeners.flatMap(({ address }) => address ?? []);
    const { resources = {}, internal } = this.#accepted ?? {};
    const known = { resources, listening, byProxyOnly: [...(internal?.keys() ?? [])] };
    return explainAnswer(this.#options.credentials(), known, call);
  }

  /** Whether it is Envoy that listens on the proxy's port: another process there would be sent the secret, and every request. */
  async proxyListens(on = LOOPBACK): Promise<boolean> {
    return proxyListensOn(await this.#envoy.admin.listeners().catch(() => []), on, this.proxy.port);
  }

  async close(): Promise<void> {
    clearTimeout(this.#expiryTimer);
    this.#replacement.close();
    await this.#options.launched.close();
    this.#socket.close();
  }

  #notes(listeners: readonly ListenerState[]): readonly string[] {
    const notes = proxyNotes(listeners, this.proxy.port, this.#options.bridgeAddress);
    if (this.#refused.length > 0) return [...notes, NOT_USED];
    return this.#accepted ? notes : [...notes, NONE_YET];
  }

  /** Checks what was received and gives it to Envoy, with what is ours, which also changes while what was received is refused. */
  #give(): void {
    const { clusterDomain, log, now } = this.#options;
    const { mesh, services, session, svids } = this.#options.credentials();
    const grants = session.grants.filter((grant) => svids.has(grant));
    if (this.#received) {
      const accepted = acceptConfiguration(
        this.#received,
        { trustDomain: mesh.trust_domain, clusterDomain, grants },
        { services, sessionId: session.id, tokenHeader: mesh.token_header, mayListenOn: this.#options.mayListenOn },
      );
      // What was accepted before stays so where a grant is lost; and what names one that has no certificate yet waits for it.
      const isKept = this.#acceptedFrom === this.#received || grants.length < session.grants.length;
      this.#refused = isKept ? [] : (accepted.refused ?? []);
      if (accepted.refused && isKept) log('configuration_waits', { version: this.#received.version });
      else if (accepted.refused) {
        const { 0: first, length } = accepted.refused;
        log('configuration_refused', {
          ...{ version: this.#received.version, refusals: length },
          first: plainText(`${first!.resource} ${first!.path}: ${first!.reason}`.slice(0, LONGEST_REASON)),
        });
      } else {
        this.#lingering.replaced(this.#accepted?.resources, accepted.resources, performance.now());
        this.#accepted = accepted;
        this.#acceptedFrom = this.#received;
        log('configuration_accepted', { version: this.#received.version, at: now() });
      }
    }
    this.#configuration.set(
      resourcesOfWorkspace({
        ...{ grants, mesh, services, clusterDomain, proxy: this.proxy, accepted: this.#accepted },
        kubernetes: kubernetesGrants(this.#options.credentials()),
        ...{ bridgeAddress: this.#options.bridgeAddress, warmUpSocket: this.#options.launched.warmUpSocket },
        ...{ generation: this.#replacement.generation, lingering: this.#lingering },
      }),
    );
    if (this.#received) this.#firstReceived();
  }

  #giveSecrets(): void {
    const { credentials, edgeRoots, now } = this.#options;
    const given = credentials();
    this.#secrets.set({ [SECRET]: secretsOf(given, edgeRoots, now()) });
    clearTimeout(this.#expiryTimer);
    const expiry = nextExpiry(given, now());
    if (expiry !== undefined) {
      this.#expiryTimer = setTimeout(() => this.#giveSecrets(), Math.min(expiry - now() + 1, LONGEST_TIMER)).unref();
    }
  }

  #answered({ type, names, isNewest, rejection }: Answered): void {
    const kind = type.slice(type.lastIndexOf('.') + 1);
    if (rejection === undefined) this.#rejections.delete(kind);
    else {
      const reason = plainText(rejection.slice(0, LONGEST_REASON).trim());
      this.#rejections.set(kind, `${kind}: ${reason}`);
      this.#options.log('envoy_rejected', { type: kind, reason });
    }
    // Where Envoy refused one of them, it has taken the others.
    if (type === SECRET && isNewest && this.#principals.taken(names)) this.#replacement.atOnce();
    if (type === CLUSTER && isNewest && this.#replacement.taken()) this.#tunnels.replaced();
    if (type !== LISTENER) return;
    this.#tellListening().then(
      () => this.#tunnels.envoyListens(this.#envoy.pid),
      () => {}, // Envoy has just ended: it will ask again
    );
  }

  /** A listener that was taken listens a moment later, when it has its routes and clusters. */
  async #tellListening(): Promise<void> {
    const turn = ++this.#tellings;
    for (let waited = 0; ; waited += LISTENING_POLL) {
      const listeners = await this.#envoy.admin.listeners();
      if (turn !== this.#tellings) return;
      const listening = new Set(listeners.flatMap(({ address }) => (address === undefined ? [] : [address])));
      const isComplete = [...(this.#accepted?.addresses ?? [])].every((address) => listening.has(address));
      if (isComplete || waited >= LONGEST_LISTENING) return this.#options.listening(listening);
      await sleep(LISTENING_POLL);
    }
  }
}
