import { createKeysSecret } from '@meshpass/broker/kubernetes/keys-secret';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { text, toggle } from '../../command/flag.ts';

export const command = defineCommand({
  about:
    'A Secret that is there is neither read nor changed, so that this may run at each upgrade, with no right but to create Secrets. Nothing of it is printed.',
  flags: {
    secret: text('<namespace/name>', 'Secret to create', { required: true, env: 'MESHPASS_KEYS_SECRET' }),
    withOperatorToken: toggle('also make a token for break-glass (docs/install/operators.md)'),
    kubeconfig: text('<file>', 'kubeconfig of the cluster', {
      env: 'MESHPASS_KUBECONFIG',
      defaultText: "the Pod's ServiceAccount",
    }),
  },
  examples: ['meshpass keys create --secret meshpass-system/meshpass-keys --kubeconfig ~/.kube/config'],
  page: 'docs/rotation.md',
  run: async ({ secret, kubeconfig, withOperatorToken }) => {
    const [, namespace, name] = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(secret) ?? [];
    if (namespace === undefined || name === undefined)
      throw new MeshpassError('usage', '--secret must be NAMESPACE/NAME.');
    const made = await createKeysSecret({ namespace, name, kubeconfig, withOperatorToken });
    console.log(made ? `Created the Secret ${secret}.` : `The Secret ${secret} is there, and stays as it is.`);
  },
});
