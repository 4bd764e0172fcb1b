/** Findings for programs. */
import type { LintedFiles } from '../lint.ts';

/**
 * One JSON document: `findings`, `suppressed`, `problems` (what could not be read), `objects`, `not_looked_at` (kinds that no rule reads) and
 * `left_out` (files that were not read), both also under older names. Members are only ever added.
 * @example
 * ```ts
 * import { lintFiles, printJson } from '@meshpass/analysis/lint';
 * const text = `apiVersion: security.istio.io/v1
 * kind: AuthorizationPolicy
 * metadata: {name: orders, namespace: shop}
 * spec: {rules: [{to: [{operation: {methods: [get]}}]}]}`;
 * const linted = lintFiles([{ name: 'orders.yaml', text }], { now: Date.now() });
 * JSON.parse(printJson(linted)).objects; // => 1
 * ```
 */
export function printJson({ findings, suppressed, problems, objects, notLookedAt, leftOut }: LintedFiles): string {
  const all = { findings, suppressed, problems, objects, notLookedAt, leftOut };
  return `${JSON.stringify({ ...all, not_looked_at: notLookedAt, left_out: leftOut }, null, 2)}\n`;
}
