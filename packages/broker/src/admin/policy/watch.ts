/**
 * Watches other people's policies while an access file is in force. After each change, the watch repeats the proof. It
 * reports any policy that breaks a grant, or that opens more than is granted, in the log, the audit log and a metric.
 * It does not change any policy.
 */
import type { Finding } from '@meshpass/analysis/plan';
import type { PolicyMesh } from '../../mesh/index.ts';
import type { Prover } from './prover.ts';

export interface PolicyWatchOptions {
  readonly mesh: PolicyMesh;
  readonly prover: Pick<Prover, 'prove'>;
  /** Receives new findings, and findings that no longer apply. */
  readonly onFinding: (finding: Finding, state: 'found' | 'gone') => void;
  readonly onFailure: (cause: unknown) => void;
}

/** Delay between a change and its proof, milliseconds, because changes come in bursts. */
const SETTLE_MS = 1_000;
/** Pause after a proof, in multiples of its duration, so that proofs take at most a quarter of the time. */
const REST = 3;

/** Starts the watch. */
export function watchPolicy({ mesh, prover, onFinding, onFailure }: PolicyWatchOptions) {
  let known = new Map<string, Finding>();
  let waiting: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let stopped = false;
  /** Whether anything has changed since the running proof began. */
  let isStale = false;
  let rest = SETTLE_MS;

  const prove = async (): Promise<void> => {
    const access = mesh.inForce();
    if (!access) return;
    const began = performance.now();
    const find = async () => {
      const state = { cluster: await mesh.read(), shape: mesh.shape, tokens: mesh.tokens() };
      return (await prover.prove({ candidate: { access }, state })).plan.findings;
    };
    const findings = await find().finally(() => {
      rest = Math.max(SETTLE_MS, REST * (performance.now() - began));
    });
    if (stopped) return;
    // Findings about other people's traffic are meant for plans. They are left out here, because those people made the
    // change themselves.
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
    // The pause starts when the running proof ends.
    if (running) isStale = true;
    if (stopped || running || waiting !== undefined) return;
    waiting = setTimeout(run, rest);
    waiting.unref();
  };
  const run = (): void => {
    waiting = undefined;
    isStale = false;
    running = prove()
      .catch((cause) => {
        if (stopped) return;
        onFailure(cause);
        // The known findings are stale until a proof succeeds.
        isStale = true;
      })
      .finally(() => {
        running = undefined;
        if (isStale) soon();
      });
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
