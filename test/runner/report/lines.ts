/** Plain lines of a test run. Colours are escape sequences, which the reporter removes unless a terminal wants them. */
import { styleText } from 'node:util';
import { countTests, type FileReport, type RunReport, slowestFiles, type TestReport } from './run-report.ts';

/** Enough to recognize a failure; its whole text is above, where it happened. */
const LINES_OF_A_REPEATED_FAILURE = 3;

type Style = Parameters<typeof styleText>[0];

/** Adds escape sequences, whatever the terminal is. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { validateStream: false });
}

/** Formats milliseconds as seconds, or from two minutes on as minutes and seconds. */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
}

/** Describes a finished file: `[ 37/420] ok    12.3 s  test/x.test.ts (14 tests)`. */
export function progressLine(at: number, total: number, file: FileReport): string {
  const [failed, skipped] = [countTests([file], 'failed'), countTests([file], 'skipped')];
  const all = `${file.tests.length} ${file.tests.length === 1 ? 'test' : 'tests'}`;
  const count = [
    failed > 0 ? `${failed} of ${all} failed` : all,
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
    ...(file.errors.length > 0 ? ['errors outside tests'] : []),
  ].join(', ');
  const word = isFailed(file) ? paint('red', 'FAIL') : paint('green', 'ok  ');
  const position = `[${String(at).padStart(String(total).length)}/${total}]`;
  return `${position} ${word} ${duration(file.ms).padStart(7)}  ${file.file} (${count})`;
}

/** Returns the end of a run: failures in brief, the slowest files, what was skipped, and totals. */
export function summaryLines({ files, errors }: RunReport, elapsedMs: number): string[] {
  const counts = (['passed', 'failed', 'skipped'] as const).map((state) => `${countTests(files, state)} ${state}`);
  const outside = errors.length + files.reduce((sum, file) => sum + file.errors.length, 0);
  const totals = [...counts, ...(outside > 0 ? [`${outside} failed outside tests`] : [])].join(', ');
  return [
    ...failureLines({ files, errors }, LINES_OF_A_REPEATED_FAILURE),
    ...slowestLines(files),
    ...skippedLines(files),
    `Tests: ${totals}, in ${files.length} ${files.length === 1 ? 'file' : 'files'} and ${duration(elapsedMs)}`,
  ];
}

/** Repeats each failure with the first lines of its message. */
export function failureLines({ files, errors }: RunReport, most: number): string[] {
  const failure = (what: string, message = '') => [
    `failed: ${what}`,
    ...message
      .split('\n')
      .slice(0, most)
      .map((line) => `    ${line}`),
  ];
  return [
    ...files.flatMap((file) => [
      ...file.errors.flatMap((error) => failure(`${file.file}: outside its tests`, error)),
      ...file.tests.flatMap(({ state, name, error }) =>
        state === 'failed' ? failure(`${file.file}: ${name}`, error) : [],
      ),
    ]),
    ...errors.flatMap((error) => failure('outside any file', error)),
  ];
}

/** Lists the ten slowest files. */
export function slowestLines(files: readonly FileReport[]): string[] {
  if (files.length < 2) return [];
  return ['Slowest files:', ...slowestFiles(files).map(({ ms, file }) => `  ${duration(ms).padStart(10)}  ${file}`)];
}

/** Counts the skipped tests by reason. */
export function skippedLines(files: readonly FileReport[]): string[] {
  const counts = new Map<string, number>();
  for (const test of files.flatMap(({ tests }) => tests).filter(({ state }) => state === 'skipped')) {
    const reason = skippedBecause(test);
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts].map(([reason, count]) => `skipped: ${count} ${count === 1 ? 'test' : 'tests'}: ${reason}`);
}

/** Returns the reason of a skipped test, or that it has none. */
export function skippedBecause({ reason }: TestReport): string {
  return reason ?? 'FAILED in CI, because test/runner/report/skips.ts does not list it';
}

function isFailed(file: FileReport): boolean {
  return file.errors.length > 0 || file.tests.some(({ state }) => state === 'failed');
}
