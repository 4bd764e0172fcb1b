import { agentConfig } from '@meshpass/agent/control/config';
import { realSurroundings } from '@meshpass/agent/session/discover';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../command/define.ts';
import { wholeNumber } from '../command/flag.ts';
import { output, proofFlags } from '../command/shared-flags.ts';
import { exitCodeFor, findingText } from '../doctor/line.ts';
import { runDoctor } from '../doctor/run.ts';
import { readTextFile } from '../input/text-file.ts';

export const command = defineCommand({
  about:
    'Run it in the Codespace. Where no agent runs it opens a session and ends it at once; it names the next step for each check that fails.',
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
    console.log(output === 'json' ? JSON.stringify({ lines }, null, 2) : lines.map(findingText).join('\n'));
    return exitCodeFor(lines);
  },
});

function readCa(file: string | undefined): string | undefined {
  return file === undefined ? undefined : readTextFile(file, '--ca-file', 'config_invalid');
}
