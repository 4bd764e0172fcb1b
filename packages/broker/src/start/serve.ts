/** Starts the parts of a broker in order and stops them in reverse order. */
import type { Operators } from '@meshpass/access';
import { pageUrl, VERSION } from '@meshpass/identity';
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

/** A running broker, as returned by `serveBroker`. */
export type Broker = Awaited<ReturnType<typeof serveBroker>>;

const STOP_PATIENCE_MS = 10_000;
const OPERATOR_STOP_PATIENCE_MS = 1_000;
const ANNOUNCE_MS = 2_000;

/**
 * Starts a broker and resolves once it is active. With PostgreSQL, the broker is a standby while another broker is
 * active. During that time, only its operator listener responds.
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
  // The previous process has already exited. The start time is recorded before the store is opened so that a restart is
  // barely noticeable to agents.
  const beganAt = toUnixSeconds(clock);

  // From here on, the broker is a standby. It does not write anything and only serves operators and probes.
  const secrets = await readSecrets(base);
  const standby = await startStandby(base);
  const { operator } = standby;
  parts.defer(() => operator.stop(0));
  const leadership = await waitForLeadership(base, standby, sharedSettings(base, secrets));
  const { store, waited } = leadership;
  parts.defer(store.close);
  // While this broker was waiting, the other broker was still accepting proofs.
  const startedAt = waited ? toUnixSeconds(clock) : beganAt;
  const admitted = await waitForAuditLog(base, standby, store, secrets.auditLog);
  await becomeActive(base, standby, leadership);

  // The broker is now active. The parts that write are started first so that they stop last, after all other parts have
  // finished.
  parts.defer(() => operator.stop(OPERATOR_STOP_PATIENCE_MS));
  const startedLog = await startAuditLog({ ...base, mesh, store, admitted, closed: secrets.auditLog }, parts);
  const { journal } = startedLog;
  const stored = await restoreSessions(base, store, journal);
  const { restored, live } = stored;
  const auditLog = await startedLog.recordDecisions({ restored, denyEnded: config.denyEnded, sessions: live.size });

  // The parts that act on sessions and accept requests are started next. They stop as soon as another broker takes
  // over, and their counts are written afterwards.
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
    { store, auditLog, sessions, startedAt, operatorToken, connections: operator.connections },
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
   * Stops the parts that act on sessions and accept requests. This is necessary after another broker has taken over,
   * because the store then rejects every write. The operator listener keeps responding until the process exits.
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
    /** The port that the listener is bound to. Useful if the configured port is 0. */
    port: listener.port,
    operatorPort: operator.port,
    /** The event feed for an edge that runs in this process. */
    feed: sessions.feed,
    /** Handles the messages that an edge in this process receives on its control connections. */
    control: sessions.control,
    /**
     * Records the decisions of an edge in the audit log.
     * @throws MeshpassError `store_unavailable`, `overloaded`
     */
    reportEdgeDecisions: sessions.recordEdgeDecisions,
    /**
     * Resolves with an error after another broker has taken over. By then, this broker has stopped accepting requests,
     * and the process must exit.
     */
    lost: store.lost.then(stepDown),
    /**
     * Stops accepting connections, gives requests in progress 10 seconds to finish, and completes all writes. Sessions
     * stay live.
     */
    close: (): Promise<void> => {
      closed ??= close();
      return closed;
    },
  };
}

/**
 * Returns warnings about settings that an operator should fix even though the broker is serving, along with
 * instructions. Each warning starts in lower case because `/readyz`, the log and `meshpass check` embed it in a
 * sentence.
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
