/**
 * Changes the access file through plans. A plan is computed against the current state of the cluster, and is only
 * applied if computing it again produces the same plan. The applied file is stored. Changes run one at a time. Files
 * from callers are parsed and proven by the prover.
 */

import type { Access } from '@meshpass/access';
import {
  type Acceptance,
  manifestsToWrite,
  NO_ACCESS,
  type Plan,
  refusals,
  refuseUnsafe,
} from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import type { Insertable } from 'kysely';
import { type AuditContext, type AuditEvent, annotateEvent, recordAllowed } from '../../audit/index.ts';
import { runExclusive } from '../../base/index.ts';
import type { AccessTexts, PolicyMesh } from '../../mesh/index.ts';
import { type Store, statement, type Tables } from '../../store/index.ts';
import type { PolicyAuthor } from './author.ts';
import type { ProvenFile } from './proof.ts';
import type { Prover } from './prover.ts';
import { findNewestRun, readVersion } from './stored-access.ts';

/** Stores access files applied by a plan under the next version number. */
const ADD_ACCESS_VERSIONS = statement<Omit<Insertable<Tables['access_versions']>, 'version'>>(`
insert into access_versions (version, time, applied_by, reason, plan, main, files, run_of, run, on_disk)
select (select coalesce(max(version), 0) from access_versions) + row_number() over (), x.*
from jsonb_to_recordset($1::jsonb) x (
  time timestamptz, applied_by text, reason text, plan text, main text, files text,
  run_of text, run bigint, on_disk boolean
)`);

export type PolicyChanges = ReturnType<typeof createPolicyChanges>;

/** The version number that stands for the file on disk. */
const ON_DISK = 0;

/** Creates the functions that plan and apply changes. They share a mutex. */
export function createPolicyChanges(
  mesh: PolicyMesh,
  prover: Pick<Prover, 'prove'>,
  store: Pick<Store, 'db'>,
  audit: AuditContext,
) {
  const mutex = new Map<string, Promise<unknown>>();

  const prove = async (files: AccessTexts): Promise<ProvenFile> => {
    const { shape, tokens, inForce, read } = mesh;
    const state = { inForce: inForce() ?? NO_ACCESS, cluster: await read(), shape, tokens: tokens() };
    return await prover.prove({ candidate: { files }, state });
  };
  /**
   * Brings a file into force and then stores it. The order matters, because a file rejected by Kubernetes must not come
   * back at the next start.
   */
  const put = async ({ kept, access, plan: made, isOnDisk = false }: Change, author: Applicant, event: AuditEvent) => {
    refuseUnsafe(made, author);
    await mesh.take(access);
    const accepted = made.findings.filter(({ kind }) => kind === 'not-known');
    const reason = event.reason ?? `Applied by ${author.by}.`;
    annotateEvent(event, {
      reason,
      target: `${kept.main} plan ${made.id}`,
      detail: {
        plan: made.id,
        state: made.state,
        resources: made.resources.length,
        reach: made.reach.slice(0, 50),
        ...(author.run && { run: author.run.id, commit: author.run.commit }),
        changes: (made.changes ?? []).slice(0, 50).map(({ says }) => says),
        // Records which unknown effects the author has accepted.
        ...(accepted.length > 0 && {
          accepted_unknown: accepted.slice(0, 50).map(({ message, because }) => `${message}: ${because}`),
        }),
      },
    });
    const row = {
      time: new Date().toISOString(),
      applied_by: author.by,
      reason,
      plan: made.id,
      main: kept.main,
      files: JSON.stringify(kept.files),
      ...(author.run && { run_of: author.run.of, run: String(author.run.id) }),
      ...(isOnDisk && { on_disk: true }),
    };
    await recordAllowed(audit, event, (tx) => tx.write(ADD_ACCESS_VERSIONS, row));
    if (isOnDisk) await mesh.followDisk();
    return made;
  };
  /**
   * Runs changes one at a time. The author was authorized by the access file that was in force when the request
   * arrived, so the change is refused if a different file has come into force since.
   */
  const inTurn = (change: (decidedBy: Access | undefined) => Promise<Plan>) => {
    const decidedBy = mesh.inForce();
    return runExclusive(mutex, 'policy', async () => {
      if (mesh.inForce() === decidedBy) return await change(decidedBy);
      throw stale('A different access file has come into force. Review it and try again.');
    });
  };
  const fileOf = async (version: number): Promise<AccessTexts> => {
    if (version === ON_DISK) return mesh.onDisk();
    const kept = Number.isSafeInteger(version) && version > 0 ? await readVersion(store.db, version) : undefined;
    if (kept) return kept;
    throw new MeshpassError('plan_unknown', 'This version of the access file does not exist.');
  };

  return {
    /**
     * Returns the files of a version.
     * @param version the version number, or `ON_DISK` for the file on disk
     * @throws MeshpassError `plan_unknown`, `access_*`
     */
    fileOf,
    /**
     * Plans a change and, unless the plan would be refused, rehearses it against the cluster.
     * @throws MeshpassError `policy_forbidden` if the cluster would reject the change; `access_*`,
     *   `kubernetes_unavailable`, `policy_too_large`, `overloaded`
     */
    plan: async (kept: AccessTexts) => {
      const { plan } = await prove(kept);
      // If the plan would be refused, its findings already explain why, and there is no need to rehearse it. Unknown
      // effects can be accepted by the author, so a plan with no other findings is still rehearsed.
      if (refusals(plan, { acceptUnknown: true }).length > 0) return plan;
      await mesh.rehearse(manifestsToWrite(plan.manifests, plan.resources));
      return plan;
    },
    /**
     * Applies a plan, provided that the same files still result in the same plan.
     * @throws MeshpassError `plan_stale`, `plan_refused`, `policy_forbidden`, `store_unavailable`, or an error from
     *   `plan`
     */
    apply: (kept: AccessTexts, planned: string, author: Applicant, event: AuditEvent) =>
      inTurn(async (decidedBy) => {
        const { run } = author;
        const last = run && (await findNewestRun(store.db, run.of));
        if (run && last !== undefined && run.id <= last)
          throw stale(
            `Run ${last} has already applied an access file, and run ${run.id} is not newer. Run the workflow on the newest commit (workflow_dispatch).`,
            { run: run.id, last },
          );
        const { access, plan } = await prove(kept);
        if (plan.id === planned && mesh.inForce() === decidedBy)
          return await put({ kept, access, plan }, author, event);
        throw stale(
          'The cluster or the access file has changed since this plan was made. Plan again and review the result.',
          { planned, now: plan.id },
        );
      }),
    /**
     * Rolls back to an earlier version of the access file.
     * @param version the version number, or `ON_DISK` for the file on disk, which the broker then follows again
     * @throws MeshpassError `plan_unknown`; `plan_stale` if another file came into force first; or an error from
     *   `apply`
     */
    rollBack: (version: number, reason: string, author: Applicant, event: AuditEvent) =>
      inTurn(async () => {
        const kept = await fileOf(version);
        const { access, plan } = await prove(kept);
        const isOnDisk = version === ON_DISK;
        const what = isOnDisk ? 'Reverted to the file on disk' : `Rolled back to version ${version}`;
        annotateEvent(event, { reason: `${what} by ${author.by}: ${reason}` });
        return await put({ kept, access, plan, isOnDisk }, author, event);
      }),
  };
}

/** An author who applies a file, and whether they accept changes whose effect could not be proved. */
type Applicant = PolicyAuthor & Acceptance;

interface Change {
  readonly kept: AccessTexts;
  readonly access: Access;
  readonly plan: Plan;
  /** Whether this is the file on disk. If so, the broker follows it again. */
  readonly isOnDisk?: boolean;
}

function stale(message: string, detail: Readonly<Record<string, unknown>> = {}): MeshpassError {
  return new MeshpassError('plan_stale', message, { detail });
}
