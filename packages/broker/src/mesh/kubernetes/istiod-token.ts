/** Requests the ServiceAccount tokens that authenticate the broker to istiod. They are never sent anywhere else. */
import { MeshpassError } from '@meshpass/identity';
import type { Kubernetes } from './kubernetes.ts';

const AUDIENCE = 'istio-ca';

/**
 * Requests a token for istiod, creating the ServiceAccount if it does not exist.
 * @param exists whether the ServiceAccount is likely to exist already. A wrong guess costs one additional call.
 * @throws MeshpassError `kubernetes_unavailable`
 */
export async function requestIstiodToken(
  kubernetes: Pick<Kubernetes, 'createServiceAccount' | 'requestToken'>,
  account: { readonly namespace: string; readonly name: string },
  exists: boolean,
  signal: AbortSignal,
): Promise<string> {
  const ask = (): Promise<string | undefined> => kubernetes.requestToken(account, AUDIENCE, signal);
  let token = exists ? await ask() : undefined;
  if (token === undefined) {
    await kubernetes.createServiceAccount(account.namespace, account.name, signal);
    token = await ask();
  }
  if (token !== undefined) return token;
  throw new MeshpassError('kubernetes_unavailable', 'Failed to create the ServiceAccount. Try again shortly.', {
    detail: { ...account },
    retryAfter: 2,
  });
}
