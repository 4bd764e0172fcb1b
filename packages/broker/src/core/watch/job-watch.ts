/**
 * Sweeps the GitHub Actions jobs of live sessions, and ends sessions whose job has completed. Each job is queried by
 * its ids. The queries are conditional, because unchanged answers are free. A completed job never runs again (a rerun
 * is a new job), so a single answer is sufficient. A failed query does not end a session, but leases and time limits
 * still apply.
 */

import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { encodePathSegment, parseGithubResponse, type ReadGithub } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import { loseFacts } from '../session/touch.ts';

/** The maximum number of jobs that are queried per round. The jobs that have waited longest are queried first. */
const MAX_ASKED = 50;
/**
 * The number of failures after which a round is aborted. GitHub is then assumed to be down, and other tasks must not
 * have to wait for it.
 */
const MAX_FAILURES = 3;

/** The status of a job or a run attempt: https://docs.github.com/rest/actions/workflow-jobs, workflow-runs. */
const Status = z.object({ id: z.int().positive(), status: z.string().max(50) });

/**
 * Creates the job sweep.
 * @param onFailure called when the query for a job fails. The query is repeated in the next round.
 */
export function createJobSweep(sessions: SessionContext, onFailure: (cause: unknown) => void) {
  /** The ETags of the queried jobs, keyed by session id. The session that has waited longest comes first. */
  let asked = new Map<string, string | undefined>();

  const ask = async (read: ReadGithub, live: Live) => {
    const where = whereToAsk(live);
    if (!where) return;
    const { id } = live.session;
    const etag = asked.get(id);
    const answer = await read(
      where.owner,
      where.path,
      etag === undefined ? {} : { headers: { 'if-none-match': etag } },
    );
    // A 404 response does not prove that the job has ended, because GitHub also sends it if the App lacks permission.
    if (!answer || answer.status === 304) return;
    const job = parseGithubResponse(Status, answer);
    if (live.ended || job.id !== where.id) return;
    asked.set(id, answer.headers.get('etag') ?? undefined);
    if (job.status !== 'completed') return;
    const { key } = live.session.attestation.workspace;
    const detail = { job: where.path };
    loseFacts(sessions, live, [{ kind: 'job', job: key, id: where.id }], { cause: 'job_ended', detail });
  };

  /**
   * Runs a single sweep.
   * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`. The next round then starts with the jobs that
   *   were not queried.
   */
  return async (read: ReadGithub): Promise<void> => {
    const jobs = [...sessions.live.all()].filter(isJob);
    const turn = new Map([...asked.keys()].map((id, index) => [id, index]));
    jobs.sort((a, b) => (turn.get(a.session.id) ?? -1) - (turn.get(b.session.id) ?? -1));
    let failures = 0;
    const had: Live[] = [];
    try {
      for (const live of jobs.slice(0, MAX_ASKED)) {
        had.push(live);
        await ask(read, live).catch((thrown: unknown) => {
          const isLimited = thrown instanceof MeshpassError && thrown.code === 'issuer_rate_limited';
          if (isLimited || ++failures >= MAX_FAILURES) throw thrown;
          onFailure(thrown);
        });
      }
    } finally {
      // A failed query counts as a turn. Otherwise, a repository that cannot be read would hold up other jobs.
      const later = jobs.slice(had.length);
      asked = new Map([...later, ...had].map(({ session: { id } }) => [id, asked.get(id)]));
    }
  };
}

function isJob({ session, ended }: Live): boolean {
  return !ended && session.attestation.workspace.kind === 'actions';
}

/** Returns the path of the job if the token contains the job's id. Otherwise, returns the path of its run attempt. */
function whereToAsk({ session: { attestation } }: Live) {
  const { claims, workspace } = attestation;
  const owner = encodePathSegment(workspace.repository?.fullName.split('/')[0] ?? '');
  const repository = workspace.repository?.id;
  const [run, attempt, job] = [claims.run_id, claims.run_attempt, claims.check_run_id].map(Number);
  if (!owner || !repository || !Number.isSafeInteger(run) || !Number.isSafeInteger(attempt)) return undefined;
  const within = `/repositories/${repository}/actions`;
  return job !== undefined && Number.isSafeInteger(job) && job > 0
    ? { owner, id: job, path: `${within}/jobs/${job}` }
    : { owner, id: run!, path: `${within}/runs/${run}/attempts/${attempt}` };
}
