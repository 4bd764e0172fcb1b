/** Findings for programs. */
import type { LintedFiles } from '../lint.ts';

/** One JSON document: `findings`, `suppressed`, `problems` (what could not be read), `objects`, `notLookedAt` (kinds that no rule reads), `leftOut` (files that were not read). Members are only ever added. */
export function printJson({ findings, suppressed, problems, objects, notLookedAt, leftOut }: LintedFiles): string {
  return `${JSON.stringify({ findings, suppressed, problems, objects, notLookedAt, leftOut }, null, 2)}\n`;
}
