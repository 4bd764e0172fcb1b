/**
 * One look at the jobs of GitHub Actions that live sessions are of, and the end of the sessions whose job is over. Each is asked about by
 * its ids, conditionally: an answer that has not changed costs nothing. A job that is over never runs again (a rerun is
 * another job), so one statement is enough; what cannot be asked ends nothing, and leases and limits go on.
 */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { parseGithub, pathPart } from '../attest/github/api.ts';
import { closeSession } from '../session/lifecycle.ts';
import type { Live } from '../session/live.ts';
import type { RecheckContext } from '../session/recheck.ts';
import type { ReadGithub } from './reader.ts';

export interface JobSweep {
  /**
   * @param onCost told of each call that counts
   * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`; who was not asked about is first in the next round
   */
  readonly sweep: (onCost: () => void) => Promise<void>;
}

export interface JobSweepOptions {
  readonly read: ReadGithub;
  readonly sessions: RecheckContext;
  /** Asking about one job failed: it is asked about again in the next round. */
  readonly onFailure: (cause: unknown) => void;
}

/** Asked about in one round; of more, those first whose turn is longest ago. */
const MAX_ASKED = 50;
/** In one round: then GitHub as a whole does not answer, and what else is watched must not wait for it. */
const MAX_FAILURES = 3;

/** Of a job and of an attempt of a run: https://docs.github.com/rest/actions/workflow-jobs, workflow-runs. */
const Status = z.object({ id: z.int().positive(), status: z.string().max(50) });

export function createJobSweep({ read, sessions, onFailure }: JobSweepOptions): JobSweep {
  /** By session, the one whose turn is longest ago first. */
  let asked = new Map<string, string | undefined>();

  const ask = async (live: Live, onCost: () => void) => {
    const where = whereToAsk(live);
    if (!where) return;
    const { id } = live.session;
    const etag = asked.get(id);
    const answer = await read(
      where.owner,
      where.path,
      etag === undefined ? {} : { headers: { 'if-none-match': etag } },
    );
    if (answer?.status === 304) return;
    onCost();
    // Not found is also what an App is told that may not read it.
    if (!answer) return;
    const job = parseGithub(Status, answer);
    if (live.ended || job.id !== where.id) return;
    asked.set(id, answer.headers.get('etag') ?? undefined);
    if (job.status !== 'completed') return;
    sessions.losses.lose({ kind: 'job', job: live.session.attestation.workspace.key, id: where.id });
    void closeSession(sessions, live, { cause: 'job_ended', detail: { job: where.path } }).catch(sessions.onFailure);
  };

  return {
    async sweep(onCost) {
      const jobs = [...sessions.live.all()].filter(isJob);
      const turn = new Map([...asked.keys()].map((id, index) => [id, index]));
      jobs.sort((a, b) => (turn.get(a.session.id) ?? -1) - (turn.get(b.session.id) ?? -1));
      let failures = 0;
      const had: Live[] = [];
      try {
        for (const live of jobs.slice(0, MAX_ASKED)) {
          had.push(live);
          await ask(live, onCost).catch((thrown: unknown) => {
            const isLimited = thrown instanceof MeshpassError && thrown.code === 'issuer_rate_limited';
            if (isLimited || ++failures >= MAX_FAILURES) throw thrown;
            onFailure(thrown);
          });
        }
      } finally {
        // Who could not be asked about has had a turn as well: others must not wait behind a repository that may not be read.
        const later = jobs.slice(had.length);
        asked = new Map([...later, ...had].map(({ session: { id } }) => [id, asked.get(id)]));
      }
    },
  };
}

function isJob({ session, ended }: Live): boolean {
  return !ended && session.attestation.workspace.kind === 'actions';
}

/** The job itself where the token names it; else the attempt of the run that it belongs to. */
function whereToAsk({ session: { attestation } }: Live) {
  const { claims, workspace } = attestation;
  const owner = pathPart(workspace.repository?.fullName.split('/')[0] ?? '');
  const [repository, run, attempt, job] = [
    workspace.repository?.id,
    ...[claims.run_id, claims.run_attempt, claims.check_run_id].map(Number),
  ];
  if (!owner || !repository || !Number.isSafeInteger(run) || !Number.isSafeInteger(attempt)) return undefined;
  const within = `/repositories/${repository}/actions`;
  return job !== undefined && Number.isSafeInteger(job) && job > 0
    ? { owner, id: job, path: `${within}/jobs/${job}` }
    : { owner, id: run!, path: `${within}/runs/${run}/attempts/${attempt}` };
}
