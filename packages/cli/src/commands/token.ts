import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import { defineCommand } from '../command/define.ts';
import { text } from '../command/flag.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  about: 'For AWS, GCP, Azure, Vault and other services that trust the broker as an OIDC issuer.',
  flags: {
    audience: text('<audience>', 'audience of the token, for example sts.amazonaws.com', { required: true }),
    output,
  },
  env: AGENT_ENV,
  examples: ['meshpass token --audience sts.amazonaws.com'],
  page: 'docs/agent.md',
  run: async ({ audience, output }) => {
    const order = { command: 'token', audience } as const;
    const { token, expiresIn } = await askAgent<{ token: string; expiresIn: number }>(
      runtimeDirectory(process.env),
      order,
    );
    console.log(output === 'json' ? JSON.stringify({ token, expires_in: expiresIn }) : token);
  },
});
