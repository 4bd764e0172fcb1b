/** A small client of the lab's own Kubernetes API: objects go in and out as plain data. */
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { LabError } from './error.ts';

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

export interface Kubernetes {
  readonly url: string;
  /** Server-side apply, then the status subresource if the object has a `status`. */
  apply(...objects: readonly KubeObject[]): Promise<void>;
  /** Deletes an object; a missing object is not an error. */
  remove(...objects: readonly KubeObject[]): Promise<void>;
  /**
   * Any call. Resolves with the parsed body.
   * @param path below the server, for example `/api/v1/namespaces`
   * @throws LabError `lab_kubernetes` for every status but 2xx
   */
  call(method: string, path: string, body?: unknown, contentType?: string): Promise<unknown>;
  /** A token of a ServiceAccount (TokenRequest). @param seconds lifetime, at least 600 */
  serviceAccountToken(namespace: string, name: string, audiences: readonly string[], seconds: number): Promise<string>;
}

const FIELD_MANAGER = 'meshpass-lab';

const CLUSTER_KINDS = new Set([
  'Namespace',
  'Node',
  'ClusterRole',
  'ClusterRoleBinding',
  'CustomResourceDefinition',
  'GatewayClass',
  'IngressClass',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionPolicyBinding',
]);

/** @param tokenFile,caFile read at once */
export function connectKubernetes(url: string, tokenFile: string, caFile: string): Kubernetes {
  const token = readFileSync(tokenFile, 'utf8').trim();
  const agent = new https.Agent({ keepAlive: true, maxSockets: 8, ca: readFileSync(caFile) });

  const call: Kubernetes['call'] = (method, path, body, contentType = 'application/json') =>
    new Promise((resolve, reject) => {
      const payload = body === undefined ? undefined : JSON.stringify(body);
      const headers = {
        authorization: `Bearer ${token}`,
        ...(payload !== undefined && { 'content-type': contentType, 'content-length': Buffer.byteLength(payload) }),
      };
      const request = https.request(`${url}${path}`, { method, headers, agent, timeout: 30_000 }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(text === '' ? undefined : JSON.parse(text));
          else
            reject(
              new LabError('lab_kubernetes', `${method} ${path}: ${status} ${text.slice(0, 600)}`, { cause: status }),
            );
        });
      });
      request.on('timeout', () => request.destroy(new Error('no answer in 30 s')));
      request.on('error', (cause) =>
        reject(new LabError('lab_kubernetes', `${method} ${path}: ${cause.message}`, { cause })),
      );
      request.end(payload);
    });

  const applyOne = async (object: KubeObject): Promise<void> => {
    const { status, ...rest } = object;
    const query = `?fieldManager=${FIELD_MANAGER}&force=true`;
    await call('PATCH', pathOf(object) + query, rest, 'application/apply-patch+yaml');
    if (status !== undefined) {
      await call('PATCH', `${pathOf(object)}/status${query}`, object, 'application/apply-patch+yaml');
    }
  };

  return {
    url,
    call,
    apply: async (...objects) => void (await Promise.all(objects.map(applyOne))),
    remove: async (...objects) => {
      const removeOne = (object: KubeObject): Promise<unknown> =>
        call('DELETE', pathOf(object)).catch((error: LabError) => {
          if (error.cause !== 404) throw error;
        });
      await Promise.all(objects.map(removeOne));
    },
    serviceAccountToken: async (namespace, name, audiences, seconds) => {
      const answer = (await call('POST', `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences, expirationSeconds: seconds },
      })) as { status: { token: string } };
      return answer.status.token;
    },
  };
}

function pathOf({ apiVersion, kind, metadata }: KubeObject): string {
  const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const inside = CLUSTER_KINDS.has(kind) ? '' : `/namespaces/${metadata.namespace ?? 'default'}`;
  return `${base}${inside}/${pluralOf(kind)}/${metadata.name}`;
}

/** Resource names of kinds, as in Kubernetes and Istio. */
function pluralOf(kind: string): string {
  const lower = kind.toLowerCase();
  if (/[^aeiou]y$/.test(lower)) return `${lower.slice(0, -1)}ies`;
  return lower.endsWith('s') ? `${lower}es` : `${lower}s`;
}
