/** Starts the parts of a broker in order. They stop in reverse order. */
import type { Operators } from '@meshpass/access';
import { pageUrl } from '@meshpass/identity/documentation/url';
import { VERSION } from '@meshpass/identity/version';
import { startAdmin } from '../admin/index.ts';
import { startAuditLog } from '../audit/index.ts';
import { toUnixSeconds } from '../base/index.ts';
import { restoreSessions } from '../core/index.ts';
import { createConnections, createSourceReader, listenTls } from '../http/index.ts';
import { type MeshState, rootLifetimes } from '../mesh/index.ts';
import { supersededError } from '../store/index.ts';
import type { BrokerConfig } from './config.ts';
import { createOperatorApp } from './operator-app.ts';
import { type Base, type BrokerParts, createBase } from './parts.ts';
import { createPublicApp } from './public-app.ts';
import { readSecrets } from './secrets.ts';
import { becomeActive, sharedSettings, startStandby, waitForAuditLog, waitForLeadership } from './standby.ts';

export type { BrokerParts } from './parts.ts';

/** Running broker. */
export type Broker = Awaited<ReturnType<typeof serveBroker>>;

const STOP_PATIENCE_MS = 10_000;
const OPERATOR_STOP_PATIENCE_MS = 1_000;
const ANNOUNCE_MS = 2_000;

/**
 * Starts a broker and resolves once it is active. With PostgreSQL, the broker is a standby while another broker is
 * active, and only its operator listener responds.
 * @throws MeshpassError `config_invalid`, `store_unavailable`, errors from verifyStoredLog(); the signal's abort reason
 */
export async function serveBroker(config: BrokerConfig, given: BrokerParts) {
  const base = createBase(config, given);
  const parts = new AsyncDisposableStack();
  try {
    return await start(base, parts);
  } catch (thrown) {
    await parts.disposeAsync().catch(base.failed('stop'));
    throw thrown;
  }
}

async function start(base: Base, parts: AsyncDisposableStack) {
  const { config, given, clock, random, log, metrics, failed } = base;
  const { mesh, signer } = given;
  // The previous process has ended by now. The start time is taken before the store opens, so that agents hardly notice
  // the restart.
  const beganAt = toUnixSeconds(clock);

  // Standby. The broker does not write anything, and serves only operators and probes.
  const secrets = await readSecrets(base);
  const standby = await startStandby(base);
  const { operator } = standby;
  parts.defer(() => operator.stop(0));
  const leadership = await waitForLeadership(base, standby, sharedSettings(base, secrets));
  const { store, waited } = leadership;
  parts.defer(store.close);
  // The other broker was accepting proofs during the wait.
  const startedAt = waited ? toUnixSeconds(clock) : beganAt;
  const admitted = await waitForAuditLog(base, standby, store, secrets.auditLog);
  await becomeActive(base, standby, leadership);

  // Active. The parts that write start first, so that they stop only after all other parts have finished.
  parts.defer(() => operator.stop(OPERATOR_STOP_PATIENCE_MS));
  const startedLog = await startAuditLog({ ...base, mesh, store, admitted, closed: secrets.auditLog }, parts);
  const { journal } = startedLog;
  const stored = await restoreSessions(base, store, journal);
  const { restored, live } = stored;
  const auditLog = await startedLog.recordDecisions({ restored, denyEnded: config.denyEnded, sessions: live.size });

  // Next come the parts that act on sessions and accept requests. They stop immediately when another broker takes over,
  // and their counts are written afterwards.
  const writing = parts.use(new AsyncDisposableStack());
  const acting = parts.use(new AsyncDisposableStack());
  const audit = auditLog.decisions;
  const sourceOf = createSourceReader(config.trustedProxies);
  const connections = createConnections({
    perSource: config.maxStrangersPerSource,
    trustedProxies: config.trustedProxies,
  });
  const { githubEventToken, operatorToken } = secrets;
  const sessions = await stored.start({ audit, startedAt, connections, sourceOf, githubEventToken }, writing, acting);
  const admin = await startAdmin(
    base,
    { store, journal, auditLog, sessions, sourceOf, startedAt, operatorToken, connections: operator.connections },
    acting,
  );
  const announce = () => void store.announce(sharedSettings(base, secrets)).catch(failed('store'));
  const announcing = setInterval(announce, ANNOUNCE_MS).unref();
  acting.defer(() => clearInterval(announcing));

  const stopping = { begun: false, patienceMs: 0 };
  const routing = { audit, clock, random, sourceOf, log, stopping: () => stopping.begun };
  const publicApp = createPublicApp(base, {
    ...routing,
    connections,
    isLeader: store.isLeader,
    routes: [...sessions.routes(admin), ...admin.publicRoutes],
    signInOffer: sessions.signInOffer,
    receivesGithubEvents: githubEventToken !== undefined,
  });
  const operatorApp = createOperatorApp(base, {
    ...routing,
    store,
    connections: operator.connections,
    routes: admin.operatorRoutes,
    warnings: () => [...(given.warnings?.() ?? []), ...operatorWarnings(config, mesh)],
  });
  const listener = await listenTls(publicApp, config.listen, {
    files: config.tls,
    connections,
    onFailure: failed('tls'),
  });
  acting.defer(() => listener.stop(stopping.patienceMs));
  acting.defer(() => {
    stopping.begun = true;
    sessions.endStreams();
  });
  metrics.measure({
    isActive: store.isLeader,
    signingSince: () => signer.ring.signing.since,
    certificate: listener.certificate,
    roots: () => rootLifetimes(mesh.roots()),
    accessFileRefused: () => mesh.fileProblem() !== undefined,
  });
  operator.show(operatorApp);
  if (config.breakGlass)
    log.warn('break-glass is on: any holder of the operator token can do nearly everything without being identified');
  for (const warning of operatorWarnings(config, mesh)) log.warn(warning);
  log.info(
    {
      version: VERSION,
      port: listener.port,
      operatorPort: operator.port,
      store: store.kind,
      restored: live.size(),
    },
    'serving',
  );

  /**
   * Stops the acting parts after another broker has taken over, because the store would refuse every write. The
   * operator listener responds until the process ends.
   */
  const stepDown = async () => {
    log.fatal({ epoch: store.epoch }, 'another broker has taken over: this broker accepts no more requests and exits');
    await acting.disposeAsync();
    return supersededError();
  };
  let closed: Promise<void> | undefined;
  const close = async () => {
    stopping.patienceMs = STOP_PATIENCE_MS;
    await parts.disposeAsync();
    log.info('stopped');
  };
  return {
    /** Port that the listener is bound to, for configurations with port 0. */
    port: listener.port,
    operatorPort: operator.port,
    /** Event feed for an edge in this process. */
    feed: sessions.feed,
    /** Handles messages that an edge in this process receives on control connections. */
    control: sessions.control,
    /**
     * Records decisions made by an edge.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    reportEdgeDecisions: sessions.recordEdgeDecisions,
    /** Resolves once the mesh has applied all revocations made so far. */
    revocationsSettled: sessions.revocationsSettled,
    /**
     * Resolves with the reason once another broker has taken over. At that point, this broker has closed its parts and
     * does not accept requests. The process must exit.
     */
    lost: store.lost.then(stepDown),
    /**
     * Stops accepting connections, allows requests in progress 10 seconds to finish and completes all writes. Sessions
     * remain live.
     */
    close: (): Promise<void> => {
      closed ??= close();
      return closed;
    },
  };
}

// Warnings about settings that an operator should fix even though the broker is serving.

/**
 * Returns warnings with instructions. Each begins in lower case, because `/readyz`, the log and `meshpass check` embed
 * it in sentences.
 */
function operatorWarnings(
  { breakGlass, operatorTokenFile }: Pick<BrokerConfig, 'breakGlass' | 'operatorTokenFile'>,
  mesh: Pick<MeshState, 'inForce' | 'access'>,
): readonly string[] {
  if (breakGlass) return [];
  const warnings: string[] = [];
  if (operatorTokenFile !== undefined)
    warnings.push(
      'an operator token is configured (--operator-token) but rejected, because break-glass is off: remove the token, or turn break-glass on (--break-glass)',
    );
  if (mesh.inForce() && !namesAnybody(mesh.access().operators))
    warnings.push(
      `this broker has no operators: the access file in force grants no roles, and break-glass is off. Add "operators" to the access file (${pageUrl('docs/install/operators.md')})`,
    );
  return warnings;
}

function namesAnybody(operators: Operators | undefined): boolean {
  if (!operators) return false;
  return operators.serviceAccounts.length > 0 || Object.values(operators.roles).some((who) => who.length > 0);
}
