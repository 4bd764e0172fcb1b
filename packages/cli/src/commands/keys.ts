import { createKeysSecret } from '@meshpass/broker/mesh/kubernetes/keys-secret';
import { pageUrl } from '@meshpass/identity';
import { defineCommand } from '../command/define.ts';
import { objectName, text, toggle } from '../command/flag.ts';
import { printLines } from '../command/outcome.ts';

export const command = defineCommand({
  about:
    'The Secret contains the audit key and, with --with-operator-token, an operator token. Brokers later store their signing key in it. An existing Secret is neither read nor changed, so the command can run at each upgrade and requires only permission to create Secrets. It never prints keys.',
  flags: {
    secret: objectName('<namespace/name>', 'Secret to create', { required: true, env: 'MESHPASS_KEYS_SECRET' }),
    withOperatorToken: toggle(
      `also create a break-glass token (${pageUrl('docs/install/operators.md#nobody-can-sign-in')})`,
    ),
    kubeconfig: text('<file>', 'kubeconfig for the cluster', {
      env: 'MESHPASS_KUBECONFIG',
      defaultText: "the Pod's ServiceAccount",
    }),
  },
  examples: ['meshpass keys create --secret meshpass-system/meshpass-keys --kubeconfig ~/.kube/config'],
  page: 'docs/install/keys-and-secrets.md',
  run: async ({ secret, kubeconfig, withOperatorToken }) => {
    const made = await createKeysSecret({ ...secret, kubeconfig, withOperatorToken });
    const named = `${secret.namespace}/${secret.name}`;
    printLines(made ? `Created the Secret ${named}.` : `The Secret ${named} already exists and was not changed.`);
  },
});
