/** Audits whether access files were applied, and records any findings about policies that Meshpass does not own. */
import type { Finding } from '@meshpass/analysis/plan';
import type { Insertable } from 'kysely';
import type { Logger } from 'pino';
import { auditRow, createAuditEvent, type Journal, retryUntilStored } from '../../audit/index.ts';
import type { Clock, Random } from '../../base/index.ts';
import type { DiskFile, PolicyDecisions } from '../../mesh/index.ts';
import { statement, type Tables } from '../../store/index.ts';

/** Stores the file on disk that most recently came into force, replacing the previous one. */
const SET_IN_FORCE = statement<Insertable<Tables['access_in_force']> & { readonly singleton: true }>(
  `
insert into access_in_force select * from jsonb_populate_recordset(null::access_in_force, $1::jsonb)
on conflict (singleton) do update set digest = excluded.digest, main = excluded.main, files = excluded.files`,
  { lastOf: 'singleton' },
);

type Decision = Parameters<Parameters<PolicyDecisions['listen']>[0]>[0];

/** The dependencies for writing audit rows that must reach the store, no matter how long it is unavailable. */
interface RecordContext {
  readonly journal: Journal;
  /** Called whenever the store fails. The write is then retried. */
  readonly onFailure: (cause: unknown) => void;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Creates the recorder. While the store is unavailable, rows wait in memory. If the broker stops before the store is
 * available again, it logs them instead. When a file on disk comes into force, the file is stored together with its
 * row, so that the next broker can use it (stored-access.ts).
 */
export function createPolicyRecorder(context: RecordContext, log: Logger) {
  const { clock, random } = context;
  let newest: DiskFile | undefined;
  return {
    decision: ({ outcome, code, reason, file, disk }: Decision): void => {
      newest = disk ?? newest;
      const event = { ...createAuditEvent('policy.apply', {}, clock, random), target: file };
      const row = auditRow(event, outcome, reason, code, clock());
      void retryUntilStored(context, (tx) => {
        tx.audit(row);
        // A retried write must not overwrite a newer file.
        if (disk && newest) tx.write(SET_IN_FORCE, inForceRow(newest));
      });
    },
    finding: ({ kind, grant, message, because }: Finding, state: 'found' | 'gone'): void => {
      const reason = state === 'found' ? `${message}: ${because}` : `Resolved: ${message}`;
      log.warn({ kind, grant, because, state }, state === 'found' ? message : `resolved: ${message}`);
      const event = { ...createAuditEvent('policy.watch', {}, clock, random), grant, detail: { kind, because } };
      const code = state === 'found' ? 'plan_refused' : undefined;
      const row = auditRow(event, state === 'found' ? 'refused' : 'allowed', reason, code, clock());
      void retryUntilStored(context, (tx) => tx.audit(row));
    },
  };
}

function inForceRow({ digest, main, files }: DiskFile) {
  return { singleton: true, digest, main, files: JSON.stringify(files) } as const;
}
