/**
 * Starts the audit log. A standby broker opens the key and verifies the log, but does not extend it until it is active.
 */
import { join } from 'node:path';
import type { Process } from '../base/index.ts';
import type { MeshState } from '../mesh/index.ts';
import type { Db, Store } from '../store/index.ts';
import { openAuditKey } from './checkpoint/key.ts';
import { type CheckpointSink, fileSink } from './checkpoint/sink.ts';
import { createCheckpointSigner, signInitialCheckpoint } from './log/checkpoint-signer.ts';
import type { AuditContext } from './log/decision.ts';
import { auditRow, createAuditEvent } from './log/event.ts';
import { createJournal } from './log/journal.ts';
import { createAuditChain } from './log/log-end.ts';
import { createRefusalMeter } from './log/refusal-meter.ts';
import { writeCountedRefusals } from './log/retry-until-stored.ts';
import { type VerifiedLog, verifyStoredLog } from './restore/admit.ts';
import { type AuditTrail, createAuditTrail } from './trail.ts';

const METERED_MS = 30_000;

/** The audit log settings. */
export interface AuditLogConfig {
  readonly publicUrl: string;
  readonly dataDir: string;
  readonly auditKeyFile?: string | undefined;
  readonly auditCheckpointFile?: string | undefined;
  readonly auditCheckpointSeconds: number;
  readonly auditRetentionDays: number;
}

/** The log before this broker is allowed to extend it. */
export type ReadOnlyLog = Awaited<ReturnType<typeof openReadOnlyLog>>;

/**
 * Opens the audit log's key and checkpoint sinks.
 * @param further sinks to use in addition to the checkpoint file
 * @throws MeshpassError `config_invalid`
 */
export async function openReadOnlyLog(
  { auditKeyFile, auditCheckpointFile, dataDir, publicUrl }: AuditLogConfig,
  further: readonly CheckpointSink[],
) {
  const key = await openAuditKey(auditKeyFile ?? join(dataDir, 'audit-key.pem'), publicUrl, auditKeyFile === undefined);
  const file = fileSink(auditCheckpointFile ?? join(dataDir, 'audit-checkpoint'), key.verifiers);
  const sinks = [file, ...further];
  return {
    /** The public keys that verify the log. */
    verifiers: key.verifiers.map(({ text }) => text),
    sinks,
    /** Verifies the log. See `verifyStoredLog()`. */
    admit: (db: Db) => verifyStoredLog(db, key, sinks),
  };
}

/** The dependencies of the audit log. */
export interface AuditLogOptions extends Omit<Process<AuditLogConfig, never>, 'given'> {
  readonly store: Store;
  readonly closed: ReadOnlyLog;
  /** The result of `closed.admit`. */
  readonly admitted: VerifiedLog;
  readonly mesh: Pick<MeshState, 'inForce' | 'access'>;
}

/** The audit log of the active broker. */
export interface AuditLog {
  /** The context in which decisions are recorded. */
  readonly decisions: AuditContext;
  readonly trail: AuditTrail;
}

/** The state of the broker process, recorded when it starts and stops. */
export interface StartedProcess {
  /** How many sessions were restored from the store. */
  readonly restored: number;
  /** Returns how many sessions are live. */
  readonly sessions: () => number;
  readonly denyEnded: string;
}

/**
 * Starts the journal and signs checkpoints periodically.
 * @returns the log, which accepts rows but does not record decisions until `recordDecisions` is called
 * @param parts a stack that stops them when it is disposed. The journal writes its last rows before the final
 *   checkpoint is signed
 * @throws MeshpassError `store_unavailable`
 */
export async function startAuditLog(options: AuditLogOptions, parts: AsyncDisposableStack) {
  const { config, store, closed, admitted, clock, random, log, metrics, failed } = options;
  const { key } = admitted;
  const chain = createAuditChain(store.db, {
    verifiers: key.verifiers,
    known: admitted.inForce.map(({ checkpoint }) => checkpoint),
  });
  const checkpoints = createCheckpointSigner({
    db: store.db,
    chain,
    key,
    sinks: closed.sinks,
    before: admitted.known.newest?.note,
    clock,
    onFailure: failed('audit'),
  });
  if (admitted.isNew) await signInitialCheckpoint(checkpoints);
  parts.defer(checkpoints.start(config.auditCheckpointSeconds));
  const journal = createJournal({ store, chain, observe: metrics.batch, onFailure: failed('store') });
  parts.defer(journal.flush);
  return {
    journal,
    /**
     * Records that this process has started, signs a checkpoint, and starts recording decisions.
     * @throws MeshpassError `store_unavailable`
     */
    recordDecisions: async ({ restored, sessions, denyEnded }: StartedProcess): Promise<AuditLog> => {
      const record = async (action: 'broker.start' | 'broker.stop', detail: Record<string, unknown>) => {
        const event = { ...createAuditEvent(action, {}, clock, random), detail };
        const row = auditRow(event, 'allowed', 'The broker process.', undefined, clock());
        await journal.transaction((tx) => tx.audit(row));
      };
      const { newest } = admitted.known;
      await record('broker.start', {
        store: store.kind,
        epoch: store.epoch,
        restored,
        after: store.before?.instance,
        deny_ended: denyEnded,
        checkpoint: newest ? { size: newest.checkpoint.size, from: newest.sink } : null,
      });
      parts.defer(() => record('broker.stop', { sessions: sessions() }).catch(failed('store')));
      await checkpoints.sign().catch(failed('audit'));
      const meter = createRefusalMeter({ clock, random, onMetered: metrics.metered });
      parts.defer(writeCountedRefusals({ journal, onFailure: failed('audit') }, METERED_MS, meter.takeRows));
      const decisions: AuditContext = {
        journal,
        clock,
        meter,
        ruleOf: namedRules(options.mesh),
        observe: (event, outcome, error, metered) => {
          metrics.decision(event.action, outcome, error?.code ?? '');
          // Do not log metered refusals. Unauthenticated clients must not be able to fill the process log either.
          if (!error || metered) return;
          const { code, message, detail, cause } = error;
          log.info(
            { decision: event.id, action: event.action, session: event.sessionId, code, message, detail, err: cause },
            'refused',
          );
        },
      };
      const retainSeconds = config.auditRetentionDays * 86_400;
      return {
        decisions,
        trail: createAuditTrail({ audit: decisions, store, chain, checkpoints, key, clock, retainSeconds }),
      };
    },
  };
}

/**
 * Returns a function that lists grants with their positions in the access file.
 * @returns a function that, given `payments-dev,ops`, returns text such as `payments-dev access.yaml:12:3, ops
 *   access.yaml:30:3`
 */
function namedRules(mesh: AuditLogOptions['mesh']): (grants: string) => string | undefined {
  return (grants) => {
    if (!mesh.inForce()) return undefined;
    const { grants: all } = mesh.access();
    const named = grants.split(',').flatMap((name) => {
      const place = all.find((grant) => grant.name === name)?.place;
      return place ? [`${name} ${place.file}:${place.line}:${place.column}`] : [];
    });
    return named.length === 0 ? undefined : named.join(', ');
  };
}
