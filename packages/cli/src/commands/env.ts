import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import { envFileLines, exportLines } from '@meshpass/agent/proxy/environment';
import { defineCommand } from '../command/define.ts';
import { toggle } from '../command/flag.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  flags: {
    container: toggle(
      'for a container on a bridge: lines of an env file, with the address of `meshpass up --bridge-address`',
    ),
    output,
  },
  env: AGENT_ENV,
  examples: ['eval "$(meshpass env)"', 'docker run --env-file <(meshpass env --container) IMAGE'],
  page: 'docs/agent.md',
  run: async ({ container, output }) => {
    const request = { command: 'env', container } as const;
    const variables = await askAgent<Record<string, string>>(runtimeDirectory(process.env), request);
    if (output === 'json') process.stdout.write(`${JSON.stringify(variables, null, 2)}\n`);
    else process.stdout.write(container ? envFileLines(variables) : exportLines(variables));
  },
});
