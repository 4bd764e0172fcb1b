/** Outcomes of repeated runs, as text. */

/** One run of a file. */
export interface Run {
  readonly passed: boolean;
  readonly ms: number;
  /** File with the output of a failed run. */
  readonly output?: string;
}

/** All runs of a file. */
export interface Outcome {
  readonly file: string;
  readonly project: string;
  readonly runs: readonly Run[];
}

/** Describes one run: `run  3 of 20: FAILED  12.3 s  /tmp/x/run-3.txt`. */
export function runLine(at: number, total: number, { passed, ms, output }: Run): string {
  const number = String(at).padStart(String(total).length);
  const seconds = `${(ms / 1000).toFixed(1)} s`.padStart(7);
  return `run ${number} of ${total}: ${passed ? 'passed' : 'FAILED'} ${seconds}${output ? `  ${output}` : ''}`;
}

/** Describes all runs: `FILE: 1 of 20 runs failed (5 %) under a load of 2`. */
export function outcomeLine({ file, runs }: Outcome, load: number): string {
  const failed = failedRuns(runs);
  const percent = Number(((100 * failed) / runs.length).toPrecision(2));
  return `${file}: ${failed} of ${runs.length} ${runs.length === 1 ? 'run' : 'runs'} failed (${percent} %) under a load of ${load}`;
}

export function failedRuns(runs: readonly Run[]): number {
  return runs.filter(({ passed }) => !passed).length;
}
