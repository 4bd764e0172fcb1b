import { agentConfig } from '@meshpass/agent/control/config';
import { realSurroundings } from '@meshpass/agent/session/discover';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../command/define.ts';
import { EXIT, type ExitCode } from '../command/failure.ts';
import { wholeNumber } from '../command/flag.ts';
import { output, proofFlags } from '../command/shared-flags.ts';
import { type DoctorLine, runDoctor } from '../doctor/run.ts';
import { readTextFile } from '../input/text-file.ts';

export const command = defineCommand({
  about: 'Run it in the Codespace. It opens no session, and names the next step for each check that fails.',
  flags: {
    ...proofFlags,
    presencePort: wholeNumber('<port>', "port that answers the broker's presence challenges", {
      env: 'MESHPASS_PRESENCE_PORT',
      defaultText: 'any free port',
    }),
    output,
  },
  exitCodes: {
    0: 'every check passed',
    1: 'a check failed; trying again changes nothing',
    3: 'a check failed because something does not answer; try again',
  },
  examples: ['meshpass doctor', 'meshpass doctor --output json'],
  page: 'docs/agent.md',
  run: async ({ output, ...options }) => {
    const config = agentConfig(options, process.env);
    if (!config.broker.startsWith('https://'))
      throw new MeshpassError('usage', `--broker is ${config.broker}: give an https:// URL.`);
    const lines = await runDoctor({ config, ca: readCa(config.caFile), surroundings: realSurroundings, now: Date.now });
    console.log(output === 'json' ? JSON.stringify({ lines }, null, 2) : lines.map(textOf).join('\n'));
    return exitCodeFor(lines);
  },
});

function readCa(file: string | undefined): string | undefined {
  return file === undefined ? undefined : readTextFile(file, '--ca-file', 'config_invalid');
}

/** The later checks need the earlier ones: if the first failure is temporary, so may be the rest. */
export function exitCodeFor(lines: readonly DoctorLine[]): ExitCode {
  const first = lines.find(({ state }) => state === 'failed');
  if (!first) return EXIT.ok;
  return first.retryable ? EXIT.unavailable : EXIT.failed;
}

function textOf({ check, state, says, code, next, untried }: DoctorLine): string {
  const lines = [`${state.padEnd(7)} ${check}: ${says}${code === undefined ? '' : ` [${code}]`}`];
  if (next !== undefined) lines.push(`        next: ${next}`);
  if (untried !== undefined) lines.push(`        note: ${untried}`);
  return lines.join('\n');
}
