/**
 * `node test/runner/totals.ts REPORT...`: what the reporter's JSON files contain, over all projects: the slowest files, each skipped test
 * with its reason, each failure, and last the totals on a line that contains nothing else. A skip that `skips.ts` does not list counts
 * as a failure, because no one else runs what CI does not run. Exits with 2 if something failed that is no test.
 */
import { readFileSync } from 'node:fs';
import { failureLines, skippedBecause, slowestLines } from './report/lines.ts';
import { countTests, type RunReport } from './report/run-report.ts';

/** Enough to see why it failed; the whole is above, in the output of its project. */
const LINES_OF_A_FAILURE = 40;

/** Failures that are no failed tests. */
interface Totals {
  readonly lines: readonly string[];
  /** Unlisted skips, and errors outside tests. */
  readonly otherFailures: number;
}

/** Describes all reports together. The last line is `N passed, N failed`. */
export function describeTotals(reports: readonly RunReport[]): Totals {
  const files = reports.flatMap((report) => report.files);
  const errors = reports.flatMap((report) => report.errors);
  const skipped = files.flatMap(({ file, tests }) =>
    tests.filter(({ state }) => state === 'skipped').map((test) => ({ file, test })),
  );
  const unlisted = skipped.filter(({ test }) => test.reason === undefined).length;
  // A file whose set-up fails counts once, even if it has several hooks that fail then.
  const otherFailures = unlisted + errors.length + files.filter((file) => file.errors.length > 0).length;
  const lines = [
    ...slowestLines(files),
    ...skipped.map(({ file, test }) => `skipped: ${file}: ${test.name}: ${skippedBecause(test)}`),
    ...failureLines({ files, errors }, LINES_OF_A_FAILURE),
    ...(skipped.length > 0 ? [`${skipped.length} skipped`] : []),
    `${countTests(files, 'passed')} passed, ${countTests(files, 'failed') + otherFailures} failed`,
  ];
  return { lines, otherFailures };
}

if (import.meta.main) {
  const reports = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')) as RunReport);
  const { lines, otherFailures } = describeTotals(reports);
  console.log(lines.join('\n'));
  process.exitCode = otherFailures > 0 ? 2 : 0;
}
