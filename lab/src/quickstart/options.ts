/** What `npm run quickstart` is started with. */
import { parseArgs } from 'node:util';

export interface QuickstartOptions {
  readonly help: boolean;
  /** Leave everything running. */
  readonly keep: boolean;
  /** Of the lab. */
  readonly name: string;
}

export const USAGE = `A Codespace's whole life on a real mesh, step by step.

Usage: npm run quickstart -- [flags]

  --keep        leave everything running and say what to try
  --name NAME   lab to use (default: $MESHPASS_LAB, or "quick"); two people on one machine need two names
  --help        this text`;

/** @returns what is wrong with the flags, where something is */
export function quickstartOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): QuickstartOptions | { readonly problem: string } {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        help: { type: 'boolean', short: 'h', default: false },
        keep: { type: 'boolean', default: false },
        name: { type: 'string', default: env.MESHPASS_LAB || 'quick' },
      },
    });
    return values;
  } catch (thrown) {
    return { problem: (thrown as Error).message };
  }
}
