/** Defines the commands that act on the session of the running agent. */
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { agentConfig } from '@meshpass/agent/control/config';
import type { KubernetesCredential } from '@meshpass/agent/kubernetes/workspace-kubernetes';
import { down } from '@meshpass/agent/process/down';
import { envFileLines, formatShellExports } from '@meshpass/agent/proxy/environment';
import type { SignInPrompt } from '@meshpass/agent/sign-in/device-flow';
import {
  fetchAgentStatus,
  formatSignIn,
  listRequestableGrants,
  printPrompt,
  requestLocalAgent,
} from '../agent/requests.ts';
import { formatRequestableGrants } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { text, toggle } from '../command/flag.ts';
import { AGENT_ENV, HOSTS_ENV, output } from '../command/shared-flags.ts';
import { withSnakeCaseTwins } from '../output/json.ts';
import { formatStatus } from '../output/status-text.ts';

const shared = { env: AGENT_ENV, page: 'docs/agent.md' };

export const commands = {
  down: defineCommand({
    about: 'Also removes the files of a crashed agent. Exits with 0 if no agent is running.',
    flags: { output },
    env: { ...AGENT_ENV, ...HOSTS_ENV },
    examples: ['meshpass down'],
    page: 'docs/agent.md',
    run: async () => {
      const { runtimeDirectory, hostsFile } = agentConfig({ broker: 'https://unused.invalid' }, process.env);
      const wasUp = await down({ runtimeDirectory, hostsFile });
      const text = () => [wasUp ? 'The session has ended.' : 'No agent was running; nothing is left behind.'];
      return { json: { was_up: wasUp }, text };
    },
  }),
  status: defineCommand({
    flags: { output },
    examples: ['meshpass status', 'meshpass status --output json'],
    ...shared,
    run: async () => {
      const status = await fetchAgentStatus();
      const offers = await listRequestableGrants();
      return {
        json: withSnakeCaseTwins({ ...status, requestable: offers }),
        text: () => [formatStatus(status, Date.now()), ...formatRequestableGrants(offers)].join('\n'),
      };
    },
  }),
  'sign-in': defineCommand({
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
    run: async ({ issuer }) => {
      const prompt = await requestLocalAgent<SignInPrompt>({ command: 'sign-in', ...(issuer && { issuer }) });
      printPrompt(prompt);
      const isDone = () => requestLocalAgent<{ done: boolean }>({ command: 'sign-in-result', issuer: prompt.issuer });
      while (!(await isDone()).done);
      const { signIns, session } = await fetchAgentStatus();
      return { json: { sign_ins: signIns, grants: session.grants }, text: () => signIns.map(formatSignIn) };
    },
  }),
  'sign-out': defineCommand({
    about: 'Access that requires a sign-in ends with it. The session and its other grants continue.',
    flags: { output },
    exitCodes: { 0: 'signed out, or not signed in' },
    env: AGENT_ENV,
    examples: ['meshpass sign-out'],
    page: 'docs/identity/sign-in.md',
    run: async () => {
      const { signedOut } = await requestLocalAgent<{ signedOut: readonly string[] }>({ command: 'sign-out' });
      const where = signedOut.join(', ');
      const text = () => [where === '' ? 'You were not signed in.' : `Signed out at ${where}.`];
      return { json: { signed_out: signedOut }, text };
    },
  }),
  env: defineCommand({
    flags: {
      container: toggle(
        'print env-file lines for a container on a bridge, with the address from `meshpass up --bridge-address`',
      ),
      output,
    },
    examples: ['eval "$(meshpass env)"', 'docker run --env-file <(meshpass env --container) IMAGE'],
    ...shared,
    run: async ({ container }) => {
      const variables = besideOwn(await requestLocalAgent<Record<string, string>>({ command: 'env', container }));
      const text = () => (container ? envFileLines(variables) : formatShellExports(variables)).trimEnd();
      return { json: variables, text };
    },
  }),
  token: defineCommand({
    about: 'For AWS, GCP, Azure, Vault and other services that trust the broker as an OIDC issuer.',
    flags: {
      audience: text('<audience>', 'audience of the token, for example sts.amazonaws.com', { required: true }),
      output,
    },
    examples: ['meshpass token --audience sts.amazonaws.com'],
    ...shared,
    run: async ({ audience }) => {
      const { token, expiresIn } = await requestLocalAgent<{ token: string; expiresIn: number }>({
        command: 'token',
        audience,
      });
      return { json: { token, expires_in: expiresIn }, text: () => token };
    },
  }),
  'kubectl-credential': defineCommand({
    about:
      'An exec credential plugin (client.authentication.k8s.io/v1): kubectl runs it as configured in the kubeconfig of `meshpass up`. Prints an ExecCredential with a token for this session. The token is a secret.',
    flags: {
      grant: text('<grant>', 'grant whose roles are used', { defaultText: 'the first grant with roles' }),
    },
    env: AGENT_ENV,
    examples: ['meshpass kubectl-credential', 'meshpass kubectl-credential --grant payments-dev'],
    page: 'docs/access/kubectl.md',
    run: async ({ grant }) => {
      const status = await requestLocalAgent<KubernetesCredential>({ command: 'kubernetes', grant });
      const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status };
      process.stdout.write(`${JSON.stringify(credential)}\n`);
    },
  }),
};

/**
 * Puts the session's kubeconfig before the user's own. kubectl merges these files and uses the current context of the
 * first one.
 */
function besideOwn({ KUBECONFIG: ours, ...rest }: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (ours === undefined) return rest;
  const own = process.env.KUBECONFIG || join(homedir(), '.kube', 'config');
  const others = own.split(delimiter).filter((path) => path !== '' && path !== ours);
  return { ...rest, KUBECONFIG: [ours, ...others].join(delimiter) };
}
