/** Checks kubectl: presents one of the agent's tokens to the API server through the edge. */

import { readFileSync } from 'node:fs';
import { askAgent } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { KubernetesCredential } from '@meshpass/agent/kubernetes/workspace-kubernetes';
import { pageUrl } from '@meshpass/identity/documentation/url';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { KUBERNETES_API } from '@meshpass/identity/kubernetes/api';
import { z } from 'zod';
import { ask } from '../broker/ask.ts';
import { type Finding, failed, ok, skipped } from '../diagnosis/finding.ts';

const Kubeconfig = z.object({
  clusters: z.array(z.object({ cluster: z.object({ 'certificate-authority-data': z.string().optional() }) })).min(1),
});
/** Path that any valid token may read. */
const PATH = '/apis/authentication.k8s.io/v1';

/** Checks kubectl. Never throws. */
export async function lookAtKubectl({ kubernetes }: AgentStatus, directory: string): Promise<Finding<'kubectl'>> {
  const [context] = kubernetes?.contexts ?? [];
  if (!kubernetes || !context) return skipped('kubectl', 'No grant has Kubernetes roles.');
  try {
    const order = { command: 'kubernetes', grant: context.grant } as const;
    const { token } = await askAgent<KubernetesCredential>(directory, order);
    const config = Kubeconfig.parse(JSON.parse(readFileSync(kubernetes.kubeconfig, 'utf8')));
    const ca = config.clusters[0]!.cluster['certificate-authority-data'];
    const { status } = await ask(context.server + PATH, {
      method: 'GET',
      headers: { host: KUBERNETES_API.host, authorization: `Bearer ${token}` },
      servername: KUBERNETES_API.host,
      ca: ca && Buffer.from(ca, 'base64').toString(),
    });
    if (status === 200) return ok('kubectl', `The API server responds in context ${context.name}.`);
    throw new MeshpassError(
      'kubernetes_unavailable',
      status === 401
        ? "The API server rejected the token: the broker's audience (--kubernetes-audience) is not one of the API server's audiences."
        : `The API server responded with status ${status}.`,
    );
  } catch (thrown) {
    return failed('kubectl', toMeshpassError(thrown, 'tunnel_gateway_unreachable', WAY), {
      seen: `GET ${context.server}${PATH}`,
      command: 'meshpass status',
      next: `Check meshpass status for refusals by the edge, and ${pageUrl('docs/access/kubectl.md')} for the next steps.`,
    });
  }
}

const WAY = 'Cannot reach the API server through the edge.';
