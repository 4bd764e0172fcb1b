import { agentConfig } from '@meshpass/agent/control/config';
import { down } from '@meshpass/agent/process/down';
import { defineCommand } from '../command/define.ts';
import { AGENT_ENV, HOSTS_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  about: 'Also removes the files of a crashed agent. Exits with 0 if no agent is running.',
  flags: { output },
  env: { ...AGENT_ENV, ...HOSTS_ENV },
  examples: ['meshpass down'],
  page: 'docs/agent.md',
  run: async ({ output }) => {
    const { runtimeDirectory, hostsFile } = agentConfig({ broker: 'https://unused.invalid' }, process.env);
    const wasUp = await down({ runtimeDirectory, hostsFile });
    if (output === 'json') console.log(JSON.stringify({ was_up: wasUp }));
    else console.log(wasUp ? 'The session has ended.' : 'No agent was running; nothing is left behind.');
  },
});
