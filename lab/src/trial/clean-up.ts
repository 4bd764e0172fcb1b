/** Removes what the broker of a trial wrote into the cluster: `helm uninstall` runs it last, with the steps of docs/install/removal.md. */
import { connectKubernetes, type Kubernetes } from '../kubernetes.ts';

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const BY_BROKER = 'labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass';
/** The Gateway first: it is the way in. */
const WRITTEN = [
  ['networking.istio.io/v1', 'gateways'],
  ['networking.istio.io/v1', 'sidecars'],
  ['security.istio.io/v1', 'authorizationpolicies'],
  ['security.istio.io/v1', 'requestauthentications'],
  ['rbac.authorization.k8s.io/v1', 'rolebindings'],
] as const;

interface List {
  readonly items: readonly { readonly metadata: { readonly name: string; readonly namespace?: string } }[];
}

/** Exists as long as a broker is installed: Helm removes it before this program runs. */
const INSTALLED = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/meshpass-broker';

/**
 * Removes what the broker wrote.
 * @param secret with the broker's keys, in the namespace of the release
 * @throws Error if a broker is installed, because `kubectl apply` of the rendered chart runs the Job of an uninstallation
 */
export async function cleanUp(namespace: string, secret: string): Promise<void> {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
  const kubernetes = connectKubernetes(`https://${host}:${port}`, `${ACCOUNT}/token`, `${ACCOUNT}/ca.crt`);
  if ((await ifPresent(kubernetes, 'GET', INSTALLED)) !== undefined)
    throw new Error(`a broker is installed, so nothing is removed: ${INSTALLED}`);
  for (const [version, plural] of WRITTEN) {
    for (const { metadata } of await listed(kubernetes, `/apis/${version}/${plural}`))
      await remove(kubernetes, `/apis/${version}/namespaces/${metadata.namespace}/${plural}/${metadata.name}`);
  }
  for (const { metadata } of await listed(kubernetes, '/api/v1/namespaces'))
    await remove(kubernetes, `/api/v1/namespaces/${metadata.name}`);
  await remove(kubernetes, `/api/v1/namespaces/${namespace}/secrets/${secret}`);
}

async function listed(kubernetes: Kubernetes, path: string): Promise<List['items']> {
  return ((await kubernetes.call('GET', `${path}?${BY_BROKER}`)) as List).items;
}

async function remove(kubernetes: Kubernetes, path: string): Promise<void> {
  await ifPresent(kubernetes, 'DELETE', path);
  console.log(`removed ${path}`);
}

/** Calls the API server. Returns undefined if the object does not exist. */
async function ifPresent(kubernetes: Kubernetes, method: 'GET' | 'DELETE', path: string): Promise<unknown> {
  return await kubernetes.call(method, path).catch((error: Error) => {
    if (error.cause !== 404) throw error;
  });
}
