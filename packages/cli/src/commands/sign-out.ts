import { defineCommand } from '../command/define.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';
import { signOut } from '../sign-in/sign-in.ts';

export const command = defineCommand({
  about: 'Access that requires a sign-in ends with it. The session and its other grants continue.',
  flags: { output },
  exitCodes: { 0: 'signed out, or not signed in' },
  env: AGENT_ENV,
  examples: ['meshpass sign-out'],
  page: 'docs/identity/sign-in.md',
  run: async ({ output }) => {
    const out = await signOut(process.env);
    if (output === 'json') console.log(JSON.stringify({ signed_out: out }));
    else console.log(out.length > 0 ? `Signed out at ${out.join(', ')}.` : 'You were not signed in.');
  },
});
