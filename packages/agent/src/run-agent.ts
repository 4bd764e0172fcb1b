/**
 * Runs the agent, which keeps credentials fresh, runs the Envoy process that carries the traffic, maintains service
 * names and serves the control socket.
 */
import { setImmediate as pause, setTimeout as sleep } from 'node:timers/promises';
import { getCACertificates } from 'node:tls';
import { dpopThumbprint, MeshpassError, toMeshpassError, VERSION } from '@meshpass/identity';
import { type AgentConfig, readCa } from './control/config.ts';
import { serveControl } from './control/control.ts';
import type { AgentStatus } from './control/status.ts';
import type { ControlRequest } from './control-request.ts';
import type { DataPlane } from './data-plane.ts';
import { findEnvoy } from './envoy/find.ts';
import { launchEnvoy } from './envoy/supervisor.ts';
import { LoopbackNames } from './hosts/loopback-names.ts';
import { WorkspaceKubernetes } from './kubernetes/workspace-kubernetes.ts';
import { proxyEnvironment } from './proxy/environment.ts';
import type { ListInterfaces, NameResolver } from './proxy/outside-address.ts';
import { BrokerAgent, brokerUrl } from './session/broker-agent.ts';
import type { Change } from './session/credential-manager.ts';
import { type HostEnvironment, hostEnvironment, selectProofSource } from './session/discover.ts';
import { generateDpopKey } from './session/enrol.ts';
import { certificatesOf } from './session/granted.ts';
import type { SignInPrompt } from './sign-in/device-flow.ts';
import { mayListenOn as mayListen } from './xds/low-ports.ts';

export interface RunningAgent {
  status(): Promise<AgentStatus>;
  /** Ends the session, restores the hosts file, then drains and stops Envoy. It is safe to call this more than once. */
  close(): Promise<void>;
  /** Resolves once the agent has been closed, whether through `close` or through `meshpass down`. */
  readonly closed: Promise<void>;
}

export interface AgentDependencies {
  readonly surroundings?: HostEnvironment;
  /** Returns the current time in Unix milliseconds. */
  readonly now?: () => number;
  readonly random?: () => number;
  readonly log?: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
  /** Called with instructions if the user must sign in. */
  readonly onPrompt?: (prompt: SignInPrompt) => void;
  /** Closes the agent when aborted, even while the agent is still starting. */
  readonly stop?: AbortSignal;
  /** Returns whether Envoy may listen on a port. */
  readonly mayListenOn?: (port: number) => boolean;
  /** Resolves names outside the mesh on behalf of containers. */
  readonly resolver?: NameResolver;
  /** Lists the network interfaces of this machine, whose addresses containers must not reach. */
  readonly interfaces?: ListInterfaces;
}

/** The maximum time that the agent waits for Envoy and the first configuration when it starts, in milliseconds. */
const FIRST_CONFIGURATION = 15_000;
/** How often a pending sign-in checks whether the agent has ended, in milliseconds. */
const SIGN_IN_TURN = 1_000;
/** The maximum time to wait for a sign-in, in milliseconds. It is shorter than the timeout of the control socket. */
const SIGN_IN_PATIENCE = 15_000;
/** The maximum time to wait for the session to end, in milliseconds. */
const LONGEST_GOODBYE = 3_000;
/**
 * The maximum time to wait for the broker before the data plane is loaded, in milliseconds. This is enough for a nearby
 * broker. If the broker is far away, the data plane is loaded while the agent waits.
 */
const SHORT_LINE = 25;
const PROXY_TAKEN =
  'The proxy is not listening. Another process may be using its port, and would receive the secret. Set a different ' +
  '--proxy-port, or try again in a moment if Envoy has just started.';
const NO_BRIDGE =
  'The proxy only listens for this machine. For containers on a bridge, run meshpass up --bridge-address ADDRESS with the ' +
  'address of the bridge. For Docker, ip -4 address show docker0 prints it.';

/**
 * Enrols the workspace and carries its traffic until the agent is closed.
 * @throws MeshpassError agent_prebuild, agent_no_identity, agent_already_running, agent_envoy_missing,
 *   agent_not_running if the agent was stopped before it was ready, or the broker's refusal
 */
export async function runAgent(config: AgentConfig, dependencies: AgentDependencies = {}): Promise<RunningAgent> {
  const parts = new AsyncDisposableStack();
  try {
    return await start(config, dependencies, parts);
  } catch (error) {
    await parts.disposeAsync().catch(logFailure(dependencies.log, 'close_failed'));
    throw error; // throws the original error, even if a part failed to close
  }
}

/** @param parts the resources that are closed with the agent, in reverse order, even if this function throws */
async function start(
  config: AgentConfig,
  dependencies: AgentDependencies,
  parts: AsyncDisposableStack,
): Promise<RunningAgent> {
  const { now = Date.now, random = Math.random, log = () => {}, surroundings = hostEnvironment } = dependencies;
  const { mayListenOn = mayListen } = dependencies;
  const proofs = selectProofSource(config, surroundings, () => signIns.takeWaiting());
  const ca = readCa(config.caFile);
  const url = brokerUrl(config.broker);
  const found = findEnvoy(config.envoy, surroundings.env);
  found.catch(() => {}); // a failure is reported below, once this agent owns the control socket
  const { clusterDomain, presencePort, runtimeDirectory: directory } = config;
  let readyAfter = 0;
  const toldToEnd = new AbortController();
  const stop = AbortSignal.any([toldToEnd.signal, ...(dependencies.stop ? [dependencies.stop] : [])]);
  let closing: Promise<void> | undefined;
  const { promise: closed, resolve: markClosed } = Promise.withResolvers<void>();
  const control = await serveControl(directory, answer);
  parts.defer(() => control.close());
  // Slow external work starts first: the handshakes with the broker, and Envoy. The rest of the agent is loaded in the
  // meantime. Loading blocks everything else, so it pauses to let pending events run.
  const agent = new BrokerAgent({ ca });
  parts.defer(() => agent.destroy());
  const launched = found.then((envoy) => launchEnvoy(envoy, { directory, log }));
  launched.catch(() => {});
  let answering: Promise<DataPlane> | undefined;
  let trafficEnded: Promise<void> | undefined;
  parts.defer(endTraffic);
  await agent.openEarly(url);
  const { RefusalReport } = await import('./access-log/report.ts');
  const { BrokerClient } = await import('./session/broker-client.ts');
  const { CredentialManager } = await import('./session/credential-manager.ts');
  const key = generateDpopKey();
  const client = new BrokerClient({ url: config.broker, agent, key, now, clusterDomain, presencePort });
  const { SessionChannel } = await import('./channel/session-channel.ts');
  const report = new RefusalReport();
  const { createIssuerRequester } = await import('./sign-in/issuer-http.ts');
  const { createSignInBrokerClient, SignIns } = await import('./sign-in/sign-ins.ts');
  const signIns = new SignIns({
    broker: createSignInBrokerClient(client),
    ask: createIssuerRequester(ca),
    jkt: dpopThumbprint(key.jwk),
    now,
    random,
    log,
    accessToken: () => manager.accessToken,
    onWaiting: () => manager.openSoon(),
  });
  parts.defer(() => Promise.race([signIns.close(), sleep(LONGEST_GOODBYE, undefined, { ref: false })]));
  const manager = new CredentialManager({
    client,
    source: proofs,
    now,
    random,
    log,
    report,
    onChange: credentialsChanged,
    renewLease: () => channel.renewOverHttps(),
    fetchConfiguration: () => channel.fetchConfiguration(),
    onBrokerAnswer: () => channel.brokerAnswered(),
  });
  parts.defer(() => Promise.race([manager.close(), sleep(LONGEST_GOODBYE, undefined, { ref: false })]));
  const names = config.byName ? new LoopbackNames(config.hostsFile, mayListenOn) : undefined;
  const channel = new SessionChannel({
    manager,
    client,
    key,
    now,
    random,
    log,
    edgeRoots: ca,
    // A configuration that cannot be validated is discarded, and the last valid one stays in use.
    configured: (received) =>
      answering?.then((plane) => plane.configure(received)).catch(logFailure(log, 'configuration_failed')),
    tunnelsDraining: (newestMs) => dataPlane?.tunnelsDraining(newestMs),
  });
  const kubernetes = new WorkspaceKubernetes({
    client,
    credentials: () => manager.credentials,
    log,
    runtimeDirectory: directory,
    command: config.command ?? ['meshpass'],
  });
  parts.defer(() => kubernetes.remove());
  // Pending requests get a chance to complete first, because the edge cuts them when the session ends.
  parts.defer(endTraffic);
  parts.defer(() => channel.close());
  parts.defer(() => names?.remove());
  let dataPlane: DataPlane | undefined;
  await pause();
  const enrolled = signInFirst().then(() => manager.start());
  answering = startDataPlane();
  for (const one of [enrolled, answering]) one.catch(() => {}); // failures are reported below
  stop.addEventListener('abort', () => void close().catch(logFailure(log, 'close_failed')));
  try {
    if (stop.aborted) throw stoppedEarly();
    await Promise.race([carryTraffic(), closed.then(() => Promise.reject(stoppedEarly()))]);
  } catch (error) {
    await close().catch(logFailure(log, 'close_failed'));
    throw stop.aborted ? stoppedEarly() : error; // closing the agent ends pending calls, which then fail
  }
  readyAfter = Math.round(performance.now());
  log('ready', { milliseconds: readyAfter });
  return { status, close, closed };

  async function carryTraffic(): Promise<void> {
    const [plane] = await Promise.all([answering!, enrolled]);
    if (closing) throw stoppedEarly();
    dataPlane = plane;
    dataPlane.credentialsChanged('session');
    kubernetes.update();
    beginSession();
    await dataPlane.ready(FIRST_CONFIGURATION);
    if (closing) throw stoppedEarly();
  }

  async function signInFirst(): Promise<void> {
    if (config.signIn === undefined) return;
    dependencies.onPrompt?.(await signIns.begin(config.signIn));
    while (!(await signIns.result(config.signIn, SIGN_IN_TURN))) if (closing) throw stoppedEarly();
  }

  async function startDataPlane(): Promise<DataPlane> {
    await agent.opened(SHORT_LINE);
    await import('@meshpass/envoy');
    await pause();
    const { DataPlane } = await import('./data-plane.ts');
    const { createLoopbackProxy } = await import('./proxy/loopback-proxy.ts');
    return new DataPlane({
      envoy: await launched,
      proxy: await createLoopbackProxy(config.proxyPort),
      clusterDomain,
      now,
      random,
      log,
      report,
      bridgeAddress: config.bridgeAddress,
      mayListenOn,
      resolver: dependencies.resolver,
      interfaces: dependencies.interfaces,
      credentials: () => manager.credentials,
      edgeRoots: ca ?? getCACertificates('default').join('\n'),
      listening: (addresses) => names?.write(manager.credentials.services, addresses),
    });
  }

  function credentialsChanged(what: Change): void {
    if (!dataPlane) return; // the data plane will start with the current credentials
    dataPlane.credentialsChanged(what);
    kubernetes.update();
    if (what === 'session') beginSession();
    else channel.follow();
  }

  function beginSession(): void {
    channel.begin();
    signIns.sessionChanged().catch(logFailure(log, 'sign_in_failed'));
  }

  async function status(): Promise<AgentStatus> {
    const { session, identityToken, services, mesh } = manager.credentials;
    const { answeredAt, failures, lease } = manager.health;
    const plane = await dataPlane!.status();
    const { refusal } = channel;
    const kubectl = kubernetes.status;
    return {
      pid: process.pid,
      version: VERSION,
      session: {
        id: session.id,
        subject: session.subject,
        login: session.login,
        workspace: session.workspace,
        grants: session.grants,
        expiresAt: session.expires_at * 1000,
      },
      credentials: {
        svids: certificatesOf(manager.credentials),
        identityTokenExpiresAt: identityToken.expiresAt,
      },
      services: services.map(({ grant, host, port, aliases, protocol, allow, address }) => ({
        grant,
        host,
        port,
        names: aliases,
        protocol,
        ...(allow ? { allow } : {}),
        ...(address !== undefined && names?.isNamed(address) ? { address } : {}),
      })),
      ...(kubectl && { kubernetes: kubectl }),
      signIns: signIns.status,
      broker: { url: config.broker, answeredAt, failures },
      edge: mesh.edge,
      ...(mesh.contact !== undefined && { contact: mesh.contact }),
      lease: { ...lease, ...(refusal && { refused: refusal }) },
      ...plane,
      notes: [...plane.notes, ...(names?.notes ?? []), ...signIns.notes],
      readyAfter,
    };
  }

  async function environment(ofContainer: boolean): Promise<Readonly<Record<string, string>>> {
    const address = ofContainer ? config.bridgeAddress : '127.0.0.1';
    if (address === undefined) throw new MeshpassError('config_invalid', NO_BRIDGE);
    if (!(await dataPlane!.proxyListens(address))) throw new MeshpassError('config_invalid', PROXY_TAKEN);
    // The loopback addresses in the kubeconfig do not exist inside a container.
    return { ...proxyEnvironment(dataPlane!.proxy, address), ...(!ofContainer && kubernetes.environment) };
  }

  async function answer(request: ControlRequest): Promise<unknown> {
    if (request.command === 'down') {
      setImmediate(() => toldToEnd.abort());
      return { pid: process.pid };
    }
    const isSignIn = request.command.startsWith('sign-');
    if (readyAfter === 0 && !isSignIn)
      throw new MeshpassError('agent_not_running', 'The agent is starting. Try again in a moment.');
    switch (request.command) {
      case 'sign-in':
        return signIns.begin(request.issuer);
      case 'sign-in-result':
        return { done: await signIns.result(request.issuer, SIGN_IN_PATIENCE) };
      case 'sign-out':
        return { signedOut: await signIns.signOut(request.issuer) };
      case 'sign-in-lacking':
        return { lacking: (await signIns.ofSession()).lacking };
      case 'status':
        return status();
      case 'env':
        return environment(request.container === true);
      case 'token':
        return manager.idToken(request.audience);
      // The broker makes all decisions. Commands go through the agent because only the agent has the session's key.
      case 'approvals': {
        const { ApprovalsResponse } = await import('@meshpass/identity/approval');
        const path = request.scope === undefined ? '/approvals' : `/approvals?scope=${request.scope}`;
        return client.call({ method: 'GET', path, accessToken: manager.credentials.accessToken }, ApprovalsResponse);
      }
      case 'approvals-change': {
        const { ApprovalRequest } = await import('@meshpass/identity/approval');
        const { path, body: json } = request;
        const { accessToken } = manager.credentials;
        return client.call({ method: 'POST', path, accessToken, json }, ApprovalRequest);
      }
      case 'kubernetes':
        return kubernetes.credential(request.grant);
      case 'explain':
        return dataPlane!.explain(request.call);
    }
  }

  function close(): Promise<void> {
    closing ??= parts.disposeAsync().finally(() => {
      log('closed');
      markClosed();
    });
    return closing;
  }

  /** Stops the data plane, or only Envoy if the rest of the data plane has not started. */
  function endTraffic(): Promise<void> {
    trafficEnded ??= (async () => {
      const started = await (answering ?? launched).catch(() => launched.catch(() => undefined));
      await started?.close();
    })();
    return trafficEnded;
  }
}

/** Returns a function that logs the error code of a failure. */
function logFailure(log: AgentDependencies['log'], event: string): (thrown: unknown) => void {
  return (thrown) => log?.(event, { code: toMeshpassError(thrown).code });
}

function stoppedEarly(): MeshpassError {
  return new MeshpassError('agent_not_running', 'The agent was stopped before it was ready.');
}
