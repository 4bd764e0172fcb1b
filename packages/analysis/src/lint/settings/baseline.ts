/**
 * Reads and writes baselines. A baseline contains known findings, which are not reported again. They are recognized
 * even if they have moved to another line.
 */
import {
  type Baseline,
  type BaselineEntry,
  type Finding,
  type LintResult,
  objectName,
  type SuppressionMatcher,
} from '../model.ts';
import { isSuppressible } from '../suppression.ts';

/** Returns the baseline entry for a finding, which does not depend on the line. */
function baselineEntry(finding: Finding): BaselineEntry {
  const { code, message, place } = finding;
  return {
    code,
    object: objectName(finding) || place.file,
    message: message.replaceAll(/(\.(?:ya?ml|json)):\d+(?::\d+)?/g, '$1'),
  };
}

/**
 * Formats the reported findings as a baseline. Findings about suppressions are left out.
 * @example
 * ```ts
 * import { formatBaseline, lintFiles } from '@meshpass/analysis/lint';
 * const text = `apiVersion: security.istio.io/v1
 * kind: AuthorizationPolicy
 * metadata: {name: orders, namespace: shop}
 * spec: {rules: [{to: [{operation: {methods: [get]}}]}]}`;
 * const linted = lintFiles([{ name: 'orders.yaml', text }], { now: Date.now() });
 * JSON.parse(formatBaseline(linted)).findings[0].object; // => 'AuthorizationPolicy shop/orders'
 * ```
 */
export function formatBaseline({ findings }: Pick<LintResult, 'findings'>): string {
  const entries = findings.filter(({ code }) => isSuppressible(code)).map(baselineEntry);
  const sorted = entries.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return `${JSON.stringify({ findings: sorted }, null, 2)}\n`;
}

/**
 * Creates a matcher that accepts the findings in a baseline. Each entry accepts a single finding, so that additional
 * findings of the same kind are still reported.
 */
export function createBaselineMatcher({ file, findings }: Baseline): {
  readonly accept: SuppressionMatcher;
  /** Returns the entries that have not accepted a finding. */
  readonly gone: () => readonly BaselineEntry[];
} {
  const left = Map.groupBy(findings, keyOf);
  const by = { place: { file, line: 1, column: 1 }, reason: 'known, in the baseline' };
  return {
    accept: (finding) =>
      isSuppressible(finding.code) && left.get(keyOf(baselineEntry(finding)))?.pop() !== undefined ? by : undefined,
    gone: () => [...left.values()].flat(),
  };
}

function keyOf({ code, object, message }: BaselineEntry): string {
  return JSON.stringify([code, object, message]);
}
