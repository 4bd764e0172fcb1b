/** Findings for programs. */
import type { LintedFiles } from '../lint.ts';

/** One JSON document: `findings`, `suppressed`, `problems` (what could not be read), `objects`, `notLookedAt` (kinds that no rule reads). Members are only ever added. */
export function printJson({ findings, suppressed, problems, objects, notLookedAt }: LintedFiles): string {
  return `${JSON.stringify({ findings, suppressed, problems, objects, notLookedAt }, null, 2)}\n`;
}
