/**
 * Policies that others write change while an access file is in force. After each change the proof is made again, and what
 * breaks a grant or opens more than is granted is said at once: log, audit log, metric. Nothing of theirs is changed.
 */
import { type Finding, planChange } from '@meshpass/analysis/plan';
import type { PolicyMesh } from '../reconcile/contract.ts';

export interface PolicyWatchOptions {
  readonly mesh: PolicyMesh;
  /** A finding that is new, or one that is no more. */
  readonly onFinding: (finding: Finding, state: 'found' | 'gone') => void;
  readonly onFailure: (cause: unknown) => void;
}

export interface PolicyWatch {
  readonly findings: () => readonly Finding[];
  stop(): Promise<void>;
}

/** Changes come in bursts, and a proof reads the whole cluster: it takes a tenth of the time at most. */
const SETTLE_MS = 1_000;
const REST = 10;

export function watchPolicy({ mesh, onFinding, onFailure }: PolicyWatchOptions): PolicyWatch {
  let known = new Map<string, Finding>();
  let waiting: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let stopped = false;
  let rest = SETTLE_MS;

  const prove = async (): Promise<void> => {
    const access = mesh.inForce();
    if (!access) return;
    const began = performance.now();
    const { findings } = planChange({ access, cluster: await mesh.read(), shape: mesh.shape, tokens: mesh.tokens() });
    rest = Math.max(SETTLE_MS, REST * (performance.now() - began));
    if (stopped) return;
    // That others' traffic would change is said of plans: here it is what they have changed themselves.
    const now = new Map(
      findings
        .filter(({ kind }) => ['grant-does-not-work', 'reaches-more', 'not-known'].includes(kind))
        .map((finding) => [`${finding.message} ${finding.because}`, finding]),
    );
    for (const [key, finding] of now) if (!known.has(key)) onFinding(finding, 'found');
    for (const [key, finding] of known) if (!now.has(key)) onFinding(finding, 'gone');
    known = now;
  };
  const soon = (): void => {
    if (stopped || waiting !== undefined) return;
    waiting = setTimeout(() => {
      waiting = undefined;
      running = (running ?? Promise.resolve()).then(prove).catch(onFailure);
    }, rest);
    waiting.unref();
  };
  const unsubscribe = mesh.onChange(soon);
  soon();
  return {
    findings: () => [...known.values()],
    stop: async () => {
      stopped = true;
      clearTimeout(waiting);
      unsubscribe();
      await running;
    },
  };
}
