import { isSea } from 'node:sea';
import { agentConfig } from '@meshpass/agent/control/config';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { launchAgent } from '@meshpass/agent/process/launch';
import { listRequestableGrants, printPrompt } from '../agent/requests.ts';
import { formatRequestableGrants } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { negatedFlag, type OptionsOf, text, toggle, wholeNumber, withEnvironmentVariables } from '../command/flag.ts';
import { type Answer, printAnswer } from '../command/outcome.ts';
import { AGENT_ENV, CLUSTER_DOMAIN_ENV, HOSTS_ENV, output, presencePort, proofFlags } from '../command/shared-flags.ts';
import { withSnakeCaseTwins } from '../output/json.ts';
import { formatStatus } from '../output/status-text.ts';

const flags = {
  ...proofFlags,
  ...withEnvironmentVariables({
    proxyPort: wholeNumber('<port>', 'port of the HTTP proxy on 127.0.0.1', { defaultText: 'any free port' }),
    bridgeAddress: text('<address>', 'private address of this machine on which the proxy also listens for containers', {
      defaultText: 'none',
    }),
  }),
  presencePort,
  byName: negatedFlag('do not write /etc/hosts; send traffic only through the proxy'),
  signIn: text('<issuer>', 'first sign in at this issuer from the access file', {
    env: 'MESHPASS_SIGN_IN',
    defaultText: 'nowhere',
  }),
  foreground: toggle('stay in the foreground until SIGTERM, SIGINT or `meshpass down`'),
  output,
};

export const command = defineCommand({
  about:
    'Proves your identity, obtains credentials and carries traffic to the mesh. The agent stays in the background and renews the credentials.',
  flags,
  env: {
    ...AGENT_ENV,
    ...HOSTS_ENV,
    ...CLUSTER_DOMAIN_ENV,
    MESHPASS_BY_NAME: 'false: the same as --no-by-name',
  },
  examples: ['meshpass up --broker https://broker.example.com', 'meshpass up --foreground --no-by-name'],
  page: 'docs/agent.md',
  run: up,
});

async function up({ output, foreground, byName, ...options }: OptionsOf<typeof flags>): Promise<Answer | undefined> {
  const named = { ...options, byName: byName ? undefined : false, command: ownCommand() };
  const config = agentConfig(named, process.env);
  const answer = (status: AgentStatus, offers: Parameters<typeof formatRequestableGrants>[0] = []) => ({
    json: withSnakeCaseTwins(status),
    text: () => [formatStatus(status, Date.now()), ...formatRequestableGrants(offers)].join('\n'),
  });
  if (!foreground)
    return answer(
      await launchAgent(config, { env: process.env, onPrompt: printPrompt }),
      await listRequestableGrants(),
    );
  const { runUntilSignal } = await import('@meshpass/agent/process/daemon');
  await runUntilSignal(config, (status) => void printAnswer(answer(status), output), printPrompt);
  return undefined;
}

/** Returns the command line that started this program. kubectl uses it to run the program from any directory. */
function ownCommand(): readonly string[] {
  const [node, script] = process.argv as [string, string | undefined];
  return isSea() || script === undefined ? [process.execPath] : [node, script];
}
