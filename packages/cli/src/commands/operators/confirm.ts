import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { argument, text } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';
import { type Waiting, waitingText } from '../../operator/confirmations.ts';

export const command = defineCommand({
  about:
    'Shows what it is first, and confirms exactly that. Your role has to allow the action, and nobody confirms their own.',
  args: { id: argument('id of what waits; meshpass operators confirmations lists them') },
  flags: {
    digest: text('<sha256>', 'confirm only if this is still its digest'),
    ...operatorFlags,
    output,
  },
  exitCodes: {
    0: 'confirmed, and it ran',
    1: 'nothing waits under this id, you may not confirm it, or it was refused',
  },
  env: TOKEN_ENV,
  examples: ['meshpass operators confirm 0193a1b2-7c3d-7000-8000-0123456789ab'],
  page: 'docs/install/operators.md',
  run: async ({ id, digest, output, ...options }) => {
    const call = operatorClient(options, process.env);
    const path = `/operator/confirmations?id=${encodeURIComponent(id)}`;
    const { confirmations } = (await call('GET', path)) as { readonly confirmations: readonly Waiting[] };
    const [waiting] = confirmations;
    if (!waiting || (digest !== undefined && digest !== waiting.digest))
      throw new MeshpassError('confirmation_void', 'The digest is of something else: look at what you confirm.');
    if (output !== 'json') console.log(waitingText(waiting));
    const result = await call('POST', '/operator/confirmations/confirm', { id, digest: waiting.digest });
    if (output === 'json') console.log(JSON.stringify({ confirmed: waiting.action, result: result ?? null }, null, 2));
    else console.log(`Confirmed: ${waiting.action} ran.`);
  },
});
