/**
 * Watches the policies that Meshpass does not own while an access file is in force. After each change, the watch proves
 * the access file again and reports any policy that breaks a grant or opens more than is granted. Reports appear in the
 * log, in the audit log and in a metric. The watch never changes a policy.
 */
import type { Finding } from '@meshpass/analysis/plan';
import { pause } from '../../base/index.ts';
import type { PolicyMesh } from '../../mesh/index.ts';
import type { Prover } from './prover.ts';

export interface PolicyWatchOptions {
  readonly mesh: PolicyMesh;
  readonly prover: Pick<Prover, 'prove'>;
  /** Called with each new finding, and with each finding that no longer applies. */
  readonly onFinding: (finding: Finding, state: 'found' | 'gone') => void;
  readonly onFailure: (cause: unknown) => void;
}

/** How long to wait between a change and its proof, in milliseconds, because changes come in bursts. */
const SETTLE_MS = 1_000;
/**
 * How long to pause after a proof, as a multiple of its duration. Proofs therefore take up at most a quarter of the
 * time.
 */
const REST = 3;

/** Starts watching policies. */
export function watchPolicy({ mesh, prover, onFinding, onFailure }: PolicyWatchOptions) {
  const stop = new AbortController();
  let known = new Map<string, Finding>();
  /** Resolves once anything has changed since the last proof started. */
  let changed = Promise.withResolvers<void>();
  changed.resolve();

  const prove = async (): Promise<void> => {
    const access = mesh.inForce();
    if (!access) return;
    const state = { cluster: await mesh.read(), shape: mesh.shape, tokens: mesh.tokens() };
    const { plan } = await prover.prove({ candidate: { access }, state });
    if (stop.signal.aborted) return;
    // Findings about other people's traffic are meant for plans. Leave them out here, because those people made the
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
        // Prove again, because the known findings are out of date until a proof succeeds.
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
