/** Findings for programs. */
import type { LintedFiles } from '../lint.ts';

/** One JSON document: `findings`, `suppressed`, `problems` (what could not be read), `objects`. Members are only ever added. */
export function printJson({ findings, suppressed, problems, objects }: LintedFiles): string {
  return `${JSON.stringify({ findings, suppressed, problems, objects }, null, 2)}\n`;
}
