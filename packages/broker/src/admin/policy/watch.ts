/**
 * Watches other people's policies while an access file is in force. After each change, the watch repeats the proof. It
 * reports any policy that breaks a grant, or that opens more than is granted, in the log, the audit log and a metric.
 * It does not change any policy.
 */
import type { Finding } from '@meshpass/analysis/plan';
import { pause } from '../../base/index.ts';
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
  const stop = new AbortController();
  let known = new Map<string, Finding>();
  /** Resolves once anything has changed since the last proof began. */
  let changed = Promise.withResolvers<void>();
  changed.resolve();

  const prove = async (): Promise<void> => {
    const access = mesh.inForce();
    if (!access) return;
    const state = { cluster: await mesh.read(), shape: mesh.shape, tokens: mesh.tokens() };
    const { plan } = await prover.prove({ candidate: { access }, state });
    if (stop.signal.aborted) return;
    // Findings about other people's traffic are meant for plans. They are left out here, because those people made the
    // change themselves.
    const now = new Map(
      plan.findings
        .filter(({ kind }) => ['grant-does-not-work', 'reaches-more', 'not-known'].includes(kind))
        .map((finding) => [`${finding.message} ${finding.because}`, finding]),
    );
    for (const [key, finding] of now) if (!known.has(key)) onFinding(finding, 'found');
    for (const [key, finding] of known) if (!now.has(key)) onFinding(finding, 'gone');
    known = now;
  };
  const run = async (): Promise<void> => {
    let rest = SETTLE_MS;
    while (!stop.signal.aborted) {
      await changed.promise;
      await pause(rest, stop.signal, { ref: false });
      if (stop.signal.aborted) return;
      changed = Promise.withResolvers();
      const began = performance.now();
      try {
        await prove();
      } catch (cause) {
        if (stop.signal.aborted) return;
        onFailure(cause);
        // The known findings are stale until a proof succeeds.
        changed.resolve();
      }
      rest = Math.max(SETTLE_MS, REST * (performance.now() - began));
    }
  };
  const unsubscribe = mesh.onChange(() => changed.resolve());
  const running = run();
  return {
    findings: () => [...known.values()],
    stop: async () => {
      stop.abort();
      unsubscribe();
      changed.resolve();
      await running;
    },
  };
}
