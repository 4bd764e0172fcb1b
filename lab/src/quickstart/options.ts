/** Options of `npm run quickstart`. */
import { parseArgs } from 'node:util';
import { DENY_ENDED_MODES, type DenyEndedMode } from '@meshpass/broker/core/session/deny/ended';

export interface QuickstartOptions {
  readonly help: boolean;
  /** Leave everything running. */
  readonly keep: boolean;
  /** Name of the lab. */
  readonly name: string;
  /** Ends that the broker also denies in the mesh. */
  readonly denyEnded: DenyEndedMode;
}

export const USAGE = `A Codespace's whole life on a real mesh, step by step.

Usage: npm run quickstart -- [flags]

  --keep               leave everything running and say what to try
  --name NAME          lab to use (default: $MESHPASS_LAB, or "quick"); two people on one machine need two names
  --deny-ended WHICH   ended sessions that the broker also denies in the mesh: revoked (default, as meshpass serve), always
  --help               this text`;

/** @returns problem with the flags, if there is one */
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
        'deny-ended': { type: 'string', default: 'revoked' },
      },
    });
    const { 'deny-ended': which, ...rest } = values;
    const denyEnded = DENY_ENDED_MODES.find((one) => one === which);
    return denyEnded
      ? { ...rest, denyEnded }
      : { problem: `--deny-ended: ${which} is none of ${DENY_ENDED_MODES.join(', ')}` };
  } catch (thrown) {
    return { problem: (thrown as Error).message };
  }
}
