/** Prints findings as a JSON document. */
import { printableJson } from '@meshpass/identity';
import type { LintedFiles } from '../lint.ts';

/**
 * Prints findings as a single JSON document. Its fields are `findings`, `suppressed`, `gone` (baseline entries without
 * a finding), `settings` (the file that was read and what it weakens), `problems` (text that could not be read),
 * `objects`, `not_looked_at` (kinds that no rule checks) and `left_out` (files that were not read). The last two are
 * also included under their older names. Fields may be added in the future, but are never removed.
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
export function printJson({ unplaced: _, ...all }: LintedFiles): string {
  return `${printableJson({ ...all, not_looked_at: all.notLookedAt, left_out: all.leftOut })}\n`;
}
