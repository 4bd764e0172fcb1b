/** The relay's token in a grant's namespace. It goes to istiod and nowhere else. */
import { MeshpassError, RELAY_ACCOUNT } from '@meshpass/identity';
import type { Kubernetes } from '../../kubernetes/kubernetes.ts';
import { TOKEN_SECONDS } from './follow-grant.ts';

const AUDIENCE = 'istio-ca';

/**
 * Creates the ServiceAccount where it is missing. It lives as long as the grant's namespace.
 * @returns a function that @throws MeshpassError `kubernetes_unavailable`
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
    throw new MeshpassError('kubernetes_unavailable', 'The relay has no ServiceAccount in the namespace of a grant.', {
      detail: of,
      retryAfter: 2,
    });
  };
}
