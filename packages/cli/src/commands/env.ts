import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import { envFileLines, exportLines } from '@meshpass/agent/proxy/environment';
import { defineCommand } from '../command/define.ts';
import { toggle } from '../command/flag.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  flags: {
    container: toggle(
      'print env-file lines for a container on a bridge, with the address from `meshpass up --bridge-address`',
    ),
    output,
  },
  env: AGENT_ENV,
  examples: ['eval "$(meshpass env)"', 'docker run --env-file <(meshpass env --container) IMAGE'],
  page: 'docs/agent.md',
  run: async ({ container, output }) => {
    const request = { command: 'env', container } as const;
    const variables = besideOwn(await askAgent<Record<string, string>>(runtimeDirectory(process.env), request));
    if (output === 'json') process.stdout.write(`${JSON.stringify(variables, null, 2)}\n`);
    else process.stdout.write(container ? envFileLines(variables) : exportLines(variables));
  },
});

/** Puts the kubeconfig before the user's own. kubectl merges the files, and the first file's current context wins. */
function besideOwn({ KUBECONFIG: ours, ...rest }: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (ours === undefined) return rest;
  const own = process.env.KUBECONFIG || join(homedir(), '.kube', 'config');
  const others = own.split(delimiter).filter((path) => path !== '' && path !== ours);
  return { ...rest, KUBECONFIG: [ours, ...others].join(delimiter) };
}
