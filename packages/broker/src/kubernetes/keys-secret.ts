/** The Secret with the keys that brokers of one store share: made once, by whoever may create it and do nothing else with it. */
import { generateKeyPair, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { kubeconfigAccess, podAccess } from './access.ts';
import { type KubernetesHttp, kubernetesHttp, path } from './http.ts';

export interface KeysSecret {
  readonly namespace: string;
  readonly name: string;
  /** Path; absent inside a Pod. */
  readonly kubeconfig?: string | undefined;
  /** Whether it gets a token for break-glass, too. */
  readonly withOperatorToken?: boolean;
}

const CONFLICT = 409;
const MODULUS_BITS = 2048;

/**
 * Creates the Secret with a new signing key (RSA) and audit key (Ed25519), and an operator token where it is wanted. One that is there is
 * neither read nor changed.
 * @returns false where it was there
 * @throws MeshpassError `config_invalid` where there is no access to a cluster, `kubernetes_unavailable`
 */
export async function createKeysSecret({ kubeconfig, ...secret }: KeysSecret): Promise<boolean> {
  const http = kubernetesHttp(kubeconfig ? await kubeconfigAccess(kubeconfig) : await podAccess(process.env));
  try {
    return await create(http, secret);
  } finally {
    http.close();
  }
}

async function create(http: KubernetesHttp, { namespace, name, withOperatorToken }: KeysSecret): Promise<boolean> {
  const rsa = await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS });
  const ed25519 = generateKeyPairSync('ed25519');
  const answer = await http.call({
    method: 'POST',
    path: path`/api/v1/namespaces/${namespace}/secrets`,
    expect: [CONFLICT],
    body: {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'Opaque',
      metadata: { name },
      stringData: {
        'signing-key.pem': pem(rsa.privateKey),
        'audit-key.pem': pem(ed25519.privateKey),
        ...(withOperatorToken && { 'operator-token': randomBytes(32).toString('base64url') }),
      },
    },
  });
  return answer.status !== CONFLICT;
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}
