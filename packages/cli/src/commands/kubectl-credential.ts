import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import type { KubernetesCredential } from '@meshpass/agent/kubernetes/workspace-kubernetes';
import { defineCommand } from '../command/define.ts';
import { text } from '../command/flag.ts';
import { AGENT_ENV } from '../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'An exec credential plugin (client.authentication.k8s.io/v1): kubectl runs it as configured in the kubeconfig of `meshpass up`. Prints an ExecCredential with a token for this session. The token is a secret.',
  flags: {
    grant: text('<grant>', 'grant whose roles are used', { defaultText: 'the first grant with roles' }),
  },
  env: AGENT_ENV,
  examples: ['meshpass kubectl-credential', 'meshpass kubectl-credential --grant payments-dev'],
  page: 'docs/access/kubectl.md',
  run: async ({ grant }) => {
    const request = { command: 'kubernetes', ...(grant !== undefined && { grant }) } as const;
    const status = await askAgent<KubernetesCredential>(runtimeDirectory(process.env), request);
    const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status };
    process.stdout.write(`${JSON.stringify(credential)}\n`);
  },
});
