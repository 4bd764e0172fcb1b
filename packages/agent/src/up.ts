/** The running agent: credentials kept fresh, services by name, the proxy, the control socket. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileProblem, MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { VERSION } from '@meshpass/identity/version';
import type { ReachableService } from '@meshpass/identity/wire';
import { BrokerClient } from './broker-client.ts';
import { ByName } from './by-name.ts';
import { carryToService, type Mesh } from './carry.ts';
import type { AgentConfig } from './config.ts';
import { type ControlRequest, serveControl } from './control.ts';
import { discover, realSurroundings, type Surroundings } from './discover.ts';
import { newDpopKey } from './enrol.ts';
import { proxyEnvironment } from './env.ts';
import { writeHosts } from './hosts-file.ts';
import { Keeper } from './keep.ts';
import { startProxy } from './proxy.ts';
import { shortName } from './refusal.ts';
import type { AgentStatus } from './status.ts';
import { Tunnels } from './tunnel.ts';
import { TunnelIdentities } from './tunnel-identity.ts';

export interface RunningAgent {
  status(): AgentStatus;
  /** Says goodbye to the broker, restores the hosts file, closes everything. Idempotent. */
  close(): Promise<void>;
  /** Resolves once `close` has been asked for and is done, here or by `meshpass down`. */
  readonly closed: Promise<void>;
}

export interface AgentRim {
  readonly surroundings?: Surroundings;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly random?: () => number;
  readonly log?: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
}

/** Services for which a connection is made ready before the first call. */
const PREPARED = 4;

/**
 * Enrols and carries traffic until closed.
 * @throws MeshpassError agent_prebuild, agent_no_identity, agent_already_running, or why the broker refused
 */
export async function runAgent(config: AgentConfig, rim: AgentRim = {}): Promise<RunningAgent> {
  const { now = Date.now, random = Math.random, log = () => {} } = rim;
  const source = discover(config, rim.surroundings ?? realSurroundings);
  const ca = config.caFile === undefined ? undefined : readCa(config.caFile);
  const { broker: url, clusterDomain, presencePort } = config;
  const client = new BrokerClient({
    ...{ url, key: newDpopKey(), ca, now, randomId: randomUUID },
    ...{ clusterDomain, presencePort },
  });
  const notes: string[] = [];
  const untold = new Map<string, AgentStatus['untold'][number]>();
  const addresses = new Map<string, string>();
  let readyAfter = 0;

  const keeper = new Keeper({
    client,
    source,
    now,
    random,
    log,
    onChange: (what) => {
      if (what === 'svids' || what === 'session') {
        identities.renewed();
        tunnels.refresh();
      }
      if (what === 'services') tunnels.servicesChanged();
      if (readyAfter > 0 && (what === 'services' || what === 'session')) reconcile().catch(untaken);
    },
  });
  const identities = new TunnelIdentities({ credentials: () => keeper.credentials, publicRoots: ca, now });
  const tunnels = new Tunnels({
    edge: () => keeper.credentials.mesh.edge,
    identity: (grant) => identities.of(grant),
  });
  const mesh = (): Mesh => {
    const { mesh: info, session, services } = keeper.credentials;
    return {
      tunnels,
      tokenHeader: info.token_header,
      sessionId: session.id,
      identityToken: () => keeper.identityToken(),
      services,
      untold: (service, error) => {
        const name = `${shortName(service)}:${service.port}`;
        untold.set(name, { service: name, at: now(), code: error.code, message: error.message });
        log('connection refused', { service: name, code: error.code });
      },
    };
  };
  const byName = new ByName({ addresses, carry: (socket, service) => carryToService(socket, service, mesh) });

  let closing: Promise<void> | undefined;
  let markClosed: () => void = () => {};
  const closed = new Promise<void>((resolve) => {
    markClosed = resolve;
  });
  const control = await serveControl(config.runtimeDirectory, answer);
  let proxy: Awaited<ReturnType<typeof startProxy>>;
  try {
    await keeper.start();
    [proxy] = await Promise.all([startProxy(mesh, config.proxyPort), reconcile()]);
  } catch (error) {
    control.close();
    byName.close();
    await keeper.close();
    throw error;
  }
  readyAfter = Math.round(performance.now());
  log('ready', { milliseconds: readyAfter });
  return { status, close, closed };

  function untaken(error: unknown): void {
    const { code, message } = toMeshpassError(error);
    log('services_not_taken', { code });
    notes.push(message);
  }

  /** Makes names and listeners what the services are now. */
  async function reconcile(): Promise<void> {
    const { services } = keeper.credentials;
    for (const service of services.slice(0, PREPARED)) tunnels.prepare(service).catch(() => {}); // the first call tells
    if (!config.byName) return;
    await byName.serve(services);
    notes.length = 0;
    for (const { service, reason } of byName.failures) notes.push(`${shortName(service)}:${service.port}: ${reason}`);
    try {
      writeHosts(config.hostsFile, byName.hostsEntries(), { sudo: true });
    } catch (error) {
      notes.push(error instanceof MeshpassError ? error.message : String(error));
    }
  }

  function status(): AgentStatus {
    const { session, svids, identityToken, services } = keeper.credentials;
    const health = keeper.health;
    const where = new Map(byName.reachable.map(({ service, address }) => [serviceKey(service), address]));
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
        svids: [...svids.values()].map(({ grant, spiffeId, expiresAt }) => ({ grant, spiffeId, expiresAt })),
        identityTokenExpiresAt: identityToken.expiresAt,
      },
      services: services.map((service) => {
        const address = where.get(serviceKey(service));
        return {
          grant: service.grant,
          host: service.host,
          port: service.port,
          names: service.aliases,
          protocol: service.protocol,
          ...(service.allow ? { allow: service.allow } : {}),
          ...(address ? { address } : {}),
        };
      }),
      proxy: { host: '127.0.0.1', port: proxy.port },
      broker: { url: config.broker, answeredAt: health.brokerAnsweredAt, failures: health.failures },
      tunnels: tunnels.size,
      shared: tunnels.shared.size,
      notes,
      untold: [...untold.values()],
      readyAfter,
    };
  }

  async function answer(request: ControlRequest): Promise<unknown> {
    if (readyAfter === 0) throw new MeshpassError('agent_not_running', 'The agent is starting; ask again in a moment.');
    switch (request.command) {
      case 'status':
        return status();
      case 'env':
        return proxyEnvironment(proxy);
      case 'token':
        return keeper.idToken(request.audience);
      case 'down':
        setImmediate(() => void close());
        return { pid: process.pid };
    }
  }

  function close(): Promise<void> {
    closing ??= (async () => {
      if (config.byName) {
        try {
          writeHosts(config.hostsFile, [], { sudo: true });
        } catch {
          // It could not be written at the start either.
        }
      }
      const goodbye = keeper.close();
      byName.close();
      proxy.close();
      tunnels.close();
      await Promise.race([goodbye, new Promise((resolve) => setTimeout(resolve, 3000).unref())]);
      control.close();
      log('closed');
      markClosed();
    })();
    return closing;
  }
}

function serviceKey(service: ReachableService): string {
  return `${service.host}:${service.port}`;
}

function readCa(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new MeshpassError('config_invalid', `--ca-file: ${path} cannot be read: ${fileProblem(cause)}.`, { cause });
  }
}
