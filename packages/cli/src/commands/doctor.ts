import { agentConfig, readCa } from '@meshpass/agent/control/config';
import { hostEnvironment } from '@meshpass/agent/session/discover';
import { defineCommand } from '../command/define.ts';
import { output, presencePort, proofFlags } from '../command/shared-flags.ts';
import { findingsOutput } from '../diagnosis/print.ts';
import { runDoctor } from '../doctor/run.ts';

export const command = defineCommand({
  about:
    'Run it in the Codespace. If no agent is running, the command opens a session and immediately ends it. Each failed check suggests a next step.',
  flags: {
    ...proofFlags,
    presencePort,
    output,
  },
  exitCodes: {
    0: 'every check passed',
    1: 'a check failed; retrying does not help',
    3: 'a check failed because a component does not respond; try again',
  },
  examples: ['meshpass doctor', 'meshpass doctor --output json'],
  page: 'docs/agent.md',
  run: async (options) => {
    const config = agentConfig(options, process.env);
    const lines = await runDoctor({ config, ca: readCa(config.caFile), surroundings: hostEnvironment, now: Date.now });
    return findingsOutput(lines, 'lines');
  },
});
