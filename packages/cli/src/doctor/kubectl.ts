/** Whether kubectl works here: a token of the agent's, shown to the API server through the edge. */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { askAgent } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { KubernetesCredential } from '@meshpass/agent/kubernetes/workspace-kubernetes';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { KUBERNETES_API } from '@meshpass/identity/kubernetes/api';
import { z } from 'zod';
import { type Finding, failed } from './line.ts';

const Kubeconfig = z.object({
  clusters: z.array(z.object({ cluster: z.object({ 'certificate-authority-data': z.string().optional() }) })).min(1),
});
const PATIENCE_MS = 10_000;
/** Whoever has a valid token may ask. */
const PATH = '/apis/authentication.k8s.io/v1';

/** Never throws. */
export async function lookAtKubectl({ kubernetes }: AgentStatus, directory: string): Promise<Finding<'kubectl'>> {
  const [context] = kubernetes?.contexts ?? [];
  if (!kubernetes || !context) return { check: 'kubectl', state: 'skipped', says: 'No grant has roles in Kubernetes.' };
  try {
    const order = { command: 'kubernetes', grant: context.grant } as const;
    const { token } = await askAgent<KubernetesCredential>(directory, order);
    const config = Kubeconfig.parse(JSON.parse(readFileSync(kubernetes.kubeconfig, 'utf8')));
    const ca = config.clusters[0]!.cluster['certificate-authority-data'];
    const status = await ask(context.server, token, ca === undefined ? undefined : Buffer.from(ca, 'base64'));
    if (status === 200)
      return { check: 'kubectl', state: 'ok', says: `The API server answers in context ${context.name}.` };
    throw new MeshpassError(
      'kubernetes_unavailable',
      status === 401
        ? 'The API server does not accept the token: the audience of the broker (--kubernetes-audience) is not one of its own.'
        : `The API server answered ${status}.`,
    );
  } catch (thrown) {
    return failed('kubectl', toMeshpassError(thrown, 'tunnel_gateway_unreachable', WAY), {
      ...{ seen: `GET ${context.server}${PATH}`, command: 'meshpass status' },
      next: 'meshpass status has what the edge refused; docs/access/kubectl.md has what to look at.',
    });
  }
}

const WAY = 'The API server is not reached through the edge.';

/** @returns status of the answer. @throws Error of Node where there is none */
function ask(server: string, token: string, ca: Buffer | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = {
      ...{ servername: KUBERNETES_API.host, agent: false, timeout: PATIENCE_MS, ...(ca && { ca }) },
      headers: { host: KUBERNETES_API.host, authorization: `Bearer ${token}` },
    };
    const asked = request(server + PATH, options, (answer) => resolve(answer.resume().statusCode ?? 0));
    asked.on('timeout', () => asked.destroy(new Error('no answer in time')));
    asked.on('error', reject);
    asked.end();
  });
}
