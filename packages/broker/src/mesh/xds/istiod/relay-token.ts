/** The relay's token in a grant's namespace. It is sent only to istiod. */
import { MeshpassError, RELAY_ACCOUNT } from '@meshpass/identity';
import type { Kubernetes } from '../../kubernetes/kubernetes.ts';
import { TOKEN_SECONDS } from './follow-grant.ts';

const AUDIENCE = 'istio-ca';

/**
 * Creates a function that requests tokens, and creates the ServiceAccount if it is missing. The account lives as long
 * as the grant's namespace.
 * @returns function that throws MeshpassError `kubernetes_unavailable`
 */
export function relayTokens(kubernetes: Pick<Kubernetes, 'createServiceAccount' | 'requestToken'>) {
  return async (namespace: string, signal: AbortSignal): Promise<string> => {
    const of = { namespace, name: RELAY_ACCOUNT };
    const ask = () => kubernetes.requestToken(of, AUDIENCE, TOKEN_SECONDS, signal);
    const found = await ask();
    if (found !== undefined) return found;
    await kubernetes.createServiceAccount(namespace, RELAY_ACCOUNT, signal);
    const token = await ask();
    if (token !== undefined) return token;
    throw new MeshpassError('kubernetes_unavailable', "The relay has no ServiceAccount in a grant's namespace.", {
      detail: of,
      retryAfter: 2,
    });
  };
}
