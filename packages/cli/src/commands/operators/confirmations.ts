import { defineCommand } from '../../command/define.ts';
import { text } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';
import { type Waiting, waitingText } from '../../operator/confirmations.ts';

export const command = defineCommand({
  about: 'What is in "operators.secondPerson" of the access file runs once another operator has confirmed it.',
  flags: { id: text('<id>', 'this one alone, with all of its parameters'), ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass operators confirmations', 'meshpass operators confirmations --output json'],
  page: 'docs/install/operators.md',
  run: async ({ id, output, ...options }) => {
    const path = `/operator/confirmations${id === undefined ? '' : `?id=${encodeURIComponent(id)}`}`;
    const answer = await operatorClient(options, process.env)('GET', path);
    const { confirmations } = answer as { readonly confirmations: readonly Waiting[] };
    if (output === 'json') console.log(JSON.stringify({ confirmations }, null, 2));
    else if (confirmations.length === 0) console.log('Nothing waits for a second person.');
    else for (const one of confirmations) console.log(waitingText(one));
  },
});
