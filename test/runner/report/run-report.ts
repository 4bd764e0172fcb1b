/** Result of one Vitest run as data: the reporter writes it as JSON, and `totals.ts` reads it. */

/** Result of one project's files. */
export interface RunReport {
  readonly files: readonly FileReport[];
  /** Errors outside any file: unhandled ones and those of a global set-up. */
  readonly errors: readonly string[];
}

export interface FileReport {
  /** Path from the root of the repository. */
  readonly file: string;
  /** Time to load the file and to run its hooks and tests, milliseconds. */
  readonly ms: number;
  readonly tests: readonly TestReport[];
  /** Errors outside any test: the file did not load or finish, or a `beforeAll` or `afterAll` failed. */
  readonly errors: readonly string[];
}

export interface TestReport {
  /** Titles of its suites and its own, with ` > ` between them. */
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'skipped';
  /** Message of the first error. */
  readonly error?: string;
  /** Why it was skipped. Absent if no one listed it as skippable (skips.ts). */
  readonly reason?: string;
}

/** Returns the files that took longest, the slowest first. */
export function slowestFiles(files: readonly FileReport[], most = 10): FileReport[] {
  return [...files].sort((a, b) => b.ms - a.ms).slice(0, most);
}

/** Counts the tests of the files in a state. */
export function countTests(files: readonly FileReport[], state: TestReport['state']): number {
  return files.reduce((sum, { tests }) => sum + tests.filter((test) => test.state === state).length, 0);
}
