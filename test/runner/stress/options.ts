/** Options of `npm run stress`. */
import { parseArgs } from 'node:util';

export interface StressOptions {
  readonly files: readonly string[];
  /** Runs of each file. */
  readonly runs: number;
  /** Busy loops per processor. */
  readonly load: number;
  /** Longest delay of the store, milliseconds; 0 for none. */
  readonly lateStore: number;
  /** Longest time for which a test process is frozen, milliseconds; 0 for never. */
  readonly pause: number;
  /** Absent: from the name of each file. */
  readonly project?: string;
  readonly output: 'text' | 'json';
}

export const USAGE = `Usage: npm run stress -- FILE... [options]

Repeats test files on a busy machine, and prints how often they fail. Exit code: 0 if no run failed, 1 if one did.

  --runs N          runs of each file (20)
  --load N          busy loops per processor (2)
  --late-store MS   delay each answer of an embedded store by up to MS milliseconds (0)
  --pause MS        now and then freeze a test process for up to MS milliseconds (0)
  --project NAME    Vitest project (from the name of the file)
  --output FORMAT   text or json (text)`;

/** Wrong use of the command. */
export class UsageError extends Error {}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): StressOptions {
  const { values, positionals } = parse(args);
  if (positionals.length === 0) throw new UsageError('Name at least one test file.');
  const { output, project } = values;
  if (output !== 'text' && output !== 'json') throw new UsageError(`--output is text or json, not "${output}".`);
  return {
    files: positionals,
    runs: wholeNumber('runs', values.runs, 1),
    load: wholeNumber('load', values.load),
    lateStore: wholeNumber('late-store', values['late-store']),
    pause: wholeNumber('pause', values.pause),
    ...(project !== undefined && { project }),
    output,
  };
}

/** Returns the Vitest project to which a test file belongs by its name, or by its folder. */
export function projectOf(file: string): string {
  const named = /\.(mesh|cluster|ambient)\.test\.ts$/.exec(file)?.[1];
  return named ?? (/(^|\/)test\/chart\//.test(file) ? 'cluster' : 'unit');
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        runs: { type: 'string', default: '20' },
        load: { type: 'string', default: '2' },
        'late-store': { type: 'string', default: '0' },
        pause: { type: 'string', default: '0' },
        project: { type: 'string' },
        output: { type: 'string', default: 'text' },
      },
    });
  } catch (thrown) {
    throw new UsageError((thrown as Error).message);
  }
}

function wholeNumber(option: string, value: string, least = 0): number {
  if (/^\d{1,9}$/.test(value) && Number(value) >= least) return Number(value);
  throw new UsageError(`--${option} is a whole number of at least ${least}, not "${value}".`);
}
