import { defineCommand } from '../command/define.ts';
import { text } from '../command/flag.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';
import { printPrompt, signIn, signInLine } from '../sign-in/sign-in.ts';

export const command = defineCommand({
  about:
    'Prints a link and a code to enter in any browser, and waits. Grants that require the sign-in take effect immediately. meshpass status shows the sign-ins; meshpass login is for operators.',
  flags: {
    issuer: text('<name>', 'issuer to sign in at, by its name in the access file', {
      defaultText: 'the issuer that your grants require',
    }),
    output,
  },
  env: AGENT_ENV,
  examples: ['meshpass sign-in', 'meshpass sign-in --issuer okta'],
  page: 'docs/identity/sign-in.md',
  run: async ({ issuer, output }) => {
    const { signIns, session } = await signIn(process.env, issuer, printPrompt);
    if (output === 'json') console.log(JSON.stringify({ sign_ins: signIns, grants: session.grants }));
    else console.log(signIns.map(signInLine).join('\n'));
  },
});
