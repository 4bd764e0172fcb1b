/**
 * Creates the Secret that contains the keys shared by all brokers of a store. It is created only once, by an identity
 * that has no other permissions.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { connectKubernetes, path } from './http.ts';

export interface KeysSecret {
  readonly namespace: string;
  readonly name: string;
  /** The path to the kubeconfig. Not needed inside a Pod. */
  readonly kubeconfig?: string | undefined;
  /** Whether the Secret should also contain a token for break-glass access. */
  readonly withOperatorToken?: boolean;
}

const CONFLICT = 409;

/**
 * Creates the Secret with a new audit key (Ed25519) and, if requested, an operator token. The brokers add their signing
 * key later. If the Secret already exists, it is neither read nor changed.
 * @returns false if the Secret already exists
 * @throws MeshpassError `config_invalid` if no cluster is configured, `kubernetes_unavailable`
 */
export async function createKeysSecret({
  kubeconfig,
  namespace,
  name,
  withOperatorToken,
}: KeysSecret): Promise<boolean> {
  const http = await connectKubernetes(kubeconfig);
  const stringData = {
    'audit-key.pem': generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }),
    ...(withOperatorToken && { 'operator-token': randomBytes(32).toString('base64url') }),
  };
  try {
    const { status } = await http.call({
      method: 'POST',
      path: path`/api/v1/namespaces/${namespace}/secrets`,
      expect: [CONFLICT],
      body: { apiVersion: 'v1', kind: 'Secret', type: 'Opaque', metadata: { name }, stringData },
    });
    return status !== CONFLICT;
  } finally {
    http.close();
  }
}
