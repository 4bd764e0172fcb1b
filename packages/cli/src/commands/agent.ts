/** The commands that talk to a running agent: down, status, env, token. */
import { agentConfig } from '@meshpass/agent/config';
import { askAgent, runtimeDirectory } from '@meshpass/agent/control';
import { down } from '@meshpass/agent/down';
import { exportLines } from '@meshpass/agent/env';
import type { AgentStatus } from '@meshpass/agent/status';
import type { Output } from '../command/failure.ts';
import { statusText } from '../output/status-text.ts';

interface Common {
  readonly output: Output;
}

export async function downCommand(options: Common): Promise<void> {
  const { runtimeDirectory: directory, hostsFile } = agentConfig({ broker: 'https://unused.invalid' }, process.env);
  const wasUp = await down({ runtimeDirectory: directory, hostsFile });
  if (options.output === 'json') console.log(JSON.stringify({ was_up: wasUp }));
  else console.log(wasUp ? 'Goodbye said: the session is over.' : 'No agent was running; nothing of it is left.');
}

export async function statusCommand(options: Common): Promise<void> {
  const status = await askAgent<AgentStatus>(runtimeDirectory(process.env), { command: 'status' });
  console.log(options.output === 'json' ? JSON.stringify(status, null, 2) : statusText(status, Date.now()));
}

export async function envCommand(options: Common): Promise<void> {
  const variables = await askAgent<Record<string, string>>(runtimeDirectory(process.env), { command: 'env' });
  process.stdout.write(options.output === 'json' ? `${JSON.stringify(variables, null, 2)}\n` : exportLines(variables));
}

export async function tokenCommand(options: Common & { readonly audience: string }): Promise<void> {
  const command = { command: 'token', audience: options.audience } as const;
  const answer = await askAgent<{ token: string; expiresIn: number }>(runtimeDirectory(process.env), command);
  console.log(
    options.output === 'json' ? JSON.stringify({ token: answer.token, expires_in: answer.expiresIn }) : answer.token,
  );
}
