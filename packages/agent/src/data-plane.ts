/**
 * Combines the workspace's Envoy with its inputs (the validated configuration, the secrets and the loopback proxy) and
 * its outputs.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CLUSTER, type Refusal as ConfigurationRefusal, LISTENER, SECRET } from '@meshpass/envoy';
import { plainText } from '@meshpass/identity';
import { RefusalLog } from './access-log/refusals.ts';
import type { RefusalReport } from './access-log/report.ts';
import type { DataPlaneStatus } from './control/status.ts';
import type { ListenerState } from './envoy/admin.ts';
import type { EnvoySupervisor } from './envoy/supervisor.ts';
import { TunnelReplacement } from './envoy/tunnel-replacement.ts';
import { createExplainResponse, type ExplainedCall, type ExplainResponse } from './explain/answer.ts';
import { kubernetesGrants } from './kubernetes/addresses.ts';
import type { LoopbackProxy } from './proxy/loopback-proxy.ts';
import { createAddressCheckHandler, type ListInterfaces, type NameResolver } from './proxy/outside-address.ts';
import { Principals } from './sds/principals.ts';
import { nextExpiry, secretsOf } from './sds/secrets.ts';
import type { ReceivedConfiguration } from './session/broker-answers.ts';
import type { Change } from './session/credential-manager.ts';
import type { Credentials } from './session/enrol.ts';
import { buildWorkspaceResources } from './workspace-resources.ts';
import { type AcceptedConfiguration, acceptConfiguration } from './xds/accept.ts';
import { type DiscoveryAck, ResourceStore } from './xds/discovery.ts';
import { LingeringResources } from './xds/lingering.ts';
import { serveEnvoySocket } from './xds/serve.ts';
import { clustersToWarm, openTunnels } from './xds/warm-up.ts';

export interface DataPlaneOptions {
  /**
   * The Envoy process, which is already running. It receives secrets as soon as credentials are available, and starts
   * listening as soon as a configuration is available.
   */
  readonly envoy: EnvoySupervisor;
  readonly clusterDomain: string;
  readonly proxy: LoopbackProxy;
  /** An additional address on which the proxy listens for containers. */
  readonly bridgeAddress?: string | undefined;
  /** Resolves names outside the mesh on behalf of containers. */
  readonly resolver?: NameResolver | undefined;
  /** Lists the network interfaces of this machine, whose addresses containers must not reach. */
  readonly interfaces?: ListInterfaces | undefined;
  /** The root certificates that verify the edge, as PEM. */
  readonly edgeRoots: string;
  /** Returns the current credentials. It is not called before `credentialsChanged`. */
  readonly credentials: () => Credentials;
  /** Collects the refusals that are reported to the broker. */
  readonly report: RefusalReport;
  /** Returns whether Envoy may listen on a port. */
  readonly mayListenOn: (port: number) => boolean;
  /**
   * Called with the addresses that Envoy is listening on (such as `127.64.1.2:8080`) whenever they may have changed.
   */
  readonly listening: (addresses: ReadonlySet<string>) => void;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
  /** Returns a random number in [0, 1). */
  readonly random: () => number;
  readonly log: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

const NOT_USED =
  "The broker's latest configuration violates a rule of this workspace and was rejected. The last valid one stays in use.";
const NONE_YET = 'The broker has not sent a configuration yet, so no service can be reached.';
const LOOPBACK = '127.0.0.1';
const LONGEST_REASON = 600;
/** The maximum delay of a Node.js timer, in milliseconds. */
const LONGEST_TIMER = 2_147_483_647;
const LISTENING_POLL = 10;
/** How long service names may wait for listeners that are still missing, in milliseconds. */
const LONGEST_LISTENING = 3_000;
/**
 * The initial delay before Envoy is asked again to open listeners that it could not open, in milliseconds. The delay
 * doubles each time.
 */
const FIRST_OFFER_MS = 500;
const LONGEST_OFFER_MS = 30_000;

export class DataPlane {
  readonly #options: DataPlaneOptions;
  readonly #configuration = new ResourceStore();
  readonly #secrets = new ResourceStore();
  readonly #refusals: RefusalLog;
  readonly #envoy: EnvoySupervisor;
  readonly #socket: { close(): void };
  readonly #rejections = new Map<string, string>();
  readonly proxy: LoopbackProxy;
  #received: ReceivedConfiguration | undefined;
  readonly #lingering = new LingeringResources();
  #accepted: AcceptedConfiguration | undefined;
  #acceptedFrom: ReceivedConfiguration | undefined;
  #refused: readonly ConfigurationRefusal[] = [];
  #tellings = 0;
  #hasTold = false;
  #offerTimer: NodeJS.Timeout | undefined;
  #offerMs = FIRST_OFFER_MS;
  /** Whether the first Envoy process has started to listen. Before that, no tunnels are opened. */
  #isReady = false;
  /** The process ID of the Envoy for which tunnels were last opened. */
  #warmed: number | undefined;
  readonly #replacement: TunnelReplacement;
  readonly #principals = new Principals();
  #drainingAt: number | undefined;
  #expiryTimer: NodeJS.Timeout | undefined;
  readonly #firstReceived = Promise.withResolvers<void>();

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    this.proxy = options.proxy;
    this.#refusals = new RefusalLog({
      now: options.now,
      report: options.report,
      services: () => options.credentials().services,
      proxyPort: options.proxy.port,
    });
    this.#envoy = options.envoy;
    this.#envoy.onEnded(() => this.#envoyEnded());
    this.#replacement = new TunnelReplacement(options.random, (generation) => {
      options.log('tunnels_replaced', { generation });
      this.#give();
    });
    this.#socket = serveEnvoySocket({
      socket: options.envoy.socket,
      configuration: this.#configuration,
      secrets: this.#secrets,
      answered: (answer) => this.#answered(answer),
      logged: (entries) => this.#refusals.take(entries),
      addresses: createAddressCheckHandler(options.resolver, options.interfaces),
    });
  }

  /** Waits until Envoy is listening with its first configuration, or until `within` milliseconds have passed. */
  async ready(within: number): Promise<void> {
    const deadline = performance.now() + within;
    await Promise.race([this.#firstReceived.promise, sleep(within, undefined, { ref: false })]);
    // Even without a configuration from the broker, the proxy can serve requests to hosts outside the mesh.
    if (!this.#accepted) this.#give();
    await this.#envoy.ready(Math.max(deadline - performance.now(), 1_000));
    await this.#tellListening();
    this.#isReady = true;
    this.#openTunnels();
  }

  /** Applies the configuration that the broker sent for the current session. */
  configure(configuration: ReceivedConfiguration): void {
    this.#received = configuration;
    this.#give();
  }

  /**
   * Handles a new session, or new certificates, tokens or services. The token only appears in its own secret, never in
   * any other resource.
   */
  credentialsChanged(what: Change): void {
    if (what === 'session') this.#lingering.clear();
    if (this.#principals.given(this.#options.credentials().svids, what === 'session')) this.#replacement.atOnce();
    this.#giveSecrets();
    if (what === 'token') return;
    if (this.#accepted || this.#received) this.#give();
  }

  /** Handles a notice from an edge that is about to end tunnels. The notice is not signed, so it may be false. */
  tunnelsDraining(newestMs: number): void {
    this.#drainingAt = this.#options.now();
    this.#replacement.draining(newestMs);
  }

  async status(): Promise<DataPlaneStatus> {
    const { admin } = this.#envoy;
    const [listeners, clusters] = await Promise.all([admin.listeners(), admin.clusters()]).catch(
      () => [[], []] as const,
    );
    return {
      envoy: {
        ...this.#envoy.status,
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

  /** Explains what would happen to a call before it is made. */
  async explain(call: ExplainedCall): Promise<ExplainResponse> {
    const listeners = await this.#envoy.admin.listeners().catch(() => []);
    const listening = listeners.flatMap(({ address }) => address ?? []);
    const { resources = {}, internal } = this.#accepted ?? {};
    const leftOut = this.#received?.leftOut ?? [];
    const known = { resources, leftOut, listening, byProxyOnly: [...(internal?.keys() ?? [])] };
    return createExplainResponse(this.#options.credentials(), known, call);
  }

  /**
   * Returns whether Envoy itself is listening on the proxy's port. Any other process on that port would receive the
   * secret and all requests.
   */
  async proxyListens(on = LOOPBACK): Promise<boolean> {
    return proxyListensOn(await this.#envoy.admin.listeners().catch(() => []), on, this.proxy.port);
  }

  async close(): Promise<void> {
    clearTimeout(this.#expiryTimer);
    clearTimeout(this.#offerTimer);
    this.#replacement.close();
    await this.#envoy.close();
    this.#socket.close();
  }

  #notes(listeners: readonly ListenerState[]): readonly string[] {
    const notes = proxyNotes(listeners, this.proxy.port, this.#options.bridgeAddress);
    if (this.#refused.length > 0) return [...notes, NOT_USED];
    return this.#accepted ? notes : [...notes, NONE_YET];
  }

  /**
   * Validates the received configuration and passes it to Envoy, together with the agent's own resources. The agent's
   * resources are updated even if the received configuration is rejected.
   */
  #give(): void {
    const { clusterDomain, log, now } = this.#options;
    const { mesh, services, session, svids } = this.#options.credentials();
    const grants = session.grants.filter((grant) => svids.has(grant));
    if (this.#received) {
      const accepted = acceptConfiguration(
        this.#received,
        { trustDomain: mesh.trust_domain, clusterDomain, tokenHeader: mesh.token_header, grants },
        { services, sessionId: session.id, contact: mesh.contact, mayListenOn: this.#options.mayListenOn },
      );
      // An accepted configuration stays in use when a grant is lost. A configuration that refers to a grant without a
      // certificate has to wait for that certificate.
      const isKept = this.#acceptedFrom === this.#received || grants.length < session.grants.length;
      this.#refused = isKept ? [] : (accepted.refused ?? []);
      if (accepted.refused && isKept) log('configuration_waits', { version: this.#received.version });
      else if (accepted.refused) {
        const { 0: first, length } = accepted.refused;
        log('configuration_refused', {
          version: this.#received.version,
          refusals: length,
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
      buildWorkspaceResources({
        grants,
        mesh,
        services,
        clusterDomain,
        proxy: this.proxy,
        accepted: this.#accepted,
        kubernetes: kubernetesGrants(this.#options.credentials()),
        bridgeAddress: this.#options.bridgeAddress,
        warmUpSocket: this.#envoy.warmUpSocket,
        generation: this.#replacement.generation,
        lingering: this.#lingering,
      }),
    );
    if (this.#received) this.#firstReceived.resolve();
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

  #answered({ type, names, isNewest, rejection }: DiscoveryAck): void {
    const kind = type.slice(type.lastIndexOf('.') + 1);
    if (rejection === undefined) this.#rejections.delete(kind);
    else {
      const reason = plainText(rejection.slice(0, LONGEST_REASON).trim());
      this.#rejections.set(kind, `${kind}: ${reason}`);
      this.#options.log('envoy_rejected', { type: kind, reason });
    }
    // Even if Envoy has rejected one of the resources, it has accepted all the others.
    if (type === SECRET && isNewest && this.#principals.taken(names)) this.#replacement.atOnce();
    if (type === CLUSTER && isNewest && this.#replacement.taken()) this.#openTunnels();
    if (type !== LISTENER) return;
    this.#tellListening().then(
      () => {
        if (this.#envoy.pid !== this.#warmed) this.#openTunnels();
      },
      () => {}, // Envoy has just exited; the next process will ask again
    );
  }

  /**
   * Opens tunnels before they are needed: for the first Envoy process, for each of its successors, and whenever tunnels
   * have been replaced.
   */
  #openTunnels(): void {
    if (!this.#isReady) return;
    this.#warmed = this.#envoy.pid;
    const clusters = new Set(this.#accepted?.resources[CLUSTER]?.keys() ?? []);
    void openTunnels(this.#envoy.warmUpSocket, clustersToWarm(this.#options.credentials().services, clusters));
  }

  /**
   * Waits for listeners that Envoy has accepted. They start listening a moment later, once they have their routes and
   * clusters.
   */
  async #tellListening(): Promise<void> {
    const turn = ++this.#tellings;
    for (let waited = 0; ; waited += LISTENING_POLL) {
      const listeners = await this.#envoy.admin.listeners();
      if (turn !== this.#tellings) return;
      const listening = new Set(listeners.flatMap(({ address }) => (address === undefined ? [] : [address])));
      const isComplete = [...(this.#accepted?.addresses ?? [])].every((address) => listening.has(address));
      if (isComplete || waited >= LONGEST_LISTENING) {
        this.#hasTold = true;
        this.#offerLater(isComplete && !this.#rejections.has('Listener'));
        return this.#options.listening(listening);
      }
      await sleep(LISTENING_POLL);
    }
  }

  /**
   * Offers the listeners again after a delay, because Envoy does not retry an address that another process was using.
   * @param allListen whether all listeners are open
   */
  #offerLater(allListen: boolean): void {
    clearTimeout(this.#offerTimer);
    if (allListen) {
      this.#offerMs = FIRST_OFFER_MS;
      return;
    }
    this.#offerTimer = setTimeout(() => this.#configuration.offerAgain(LISTENER), this.#offerMs).unref();
    this.#offerMs = Math.min(this.#offerMs * 2, LONGEST_OFFER_MS);
  }

  /**
   * Withdraws all service names. Otherwise, a process that takes over one of Envoy's addresses would receive requests
   * made by name.
   */
  #envoyEnded(): void {
    this.#tellings++;
    if (this.#hasTold) this.#options.listening(new Set());
  }
}

/** Returns whether Envoy is listening on the given address and port. */
function proxyListensOn(listeners: readonly ListenerState[], on: string, port: number): boolean {
  return listeners.some(({ address }) => address === `${on}:${port}`);
}

/** Describes which addresses have no listener, and tells the user how to fix that. */
function proxyNotes(
  listeners: readonly ListenerState[],
  port: number,
  bridgeAddress: string | undefined,
): readonly string[] {
  const isMissing = (address: string) => !proxyListensOn(listeners, address, port);
  const missing = (address: string) => `The proxy is not listening on ${address}:${port}`;
  return [
    ...(isMissing(LOOPBACK) ? [`${missing(LOOPBACK)}.`] : []),
    ...(bridgeAddress !== undefined && isMissing(bridgeAddress)
      ? [
          `${missing(bridgeAddress)}, so containers cannot reach it. If this machine does not have that address, start ` +
            'Docker, then run meshpass down and meshpass up.',
        ]
      : []),
  ];
}
