/** Prints findings as JSON. */
import { printableJson } from '@meshpass/identity/text';
import type { LintedFiles } from '../lint.ts';

/**
 * Prints one JSON document: `findings`, `suppressed`, `gone` (of a baseline), `settings` (which file was read, and
 * what it takes away), `problems` (unreadable text), `objects`, `not_looked_at` (kinds that no rule reads) and `left_out`
 * (files that were not read), the last two also under older names. New members may be added, and none is removed.
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
