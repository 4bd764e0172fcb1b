/**
 * The Kubernetes operations that the broker needs. deploy/helm/meshpass/files/broker-rbac.yaml grants permissions for
 * exactly these operations.
 */

import { MANAGED_BY, MANAGED_BY_LABEL, type Manifest } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import type { KubernetesCall, KubernetesHttp } from './http.ts';
import { apiVersionOf, collectionPath, objectPath } from './resources.ts';

export const FIELD_MANAGER = 'meshpass';
/** The lifetime of requested tokens, in seconds. This is the shortest lifetime that Kubernetes allows. */
export const TOKEN_SECONDS = 600;
const ISTIOD_AUDIENCE = 'istio-ca';
/**
 * The maximum size of a token. All ServiceAccount tokens are smaller than this. The limit prevents clients from sending
 * large amounts of data to TokenReview.
 */
const MAX_TOKEN_BYTES = 16 * 1024;

/** The name of a ServiceAccount. */
interface Account {
  readonly namespace: string;
  readonly name: string;
}

/** A Kubernetes object as returned by the API server. */
export interface ListedObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp?: string;
    readonly deletionTimestamp?: string;
  };
  readonly spec?: unknown;
}

/**
 * A client for these operations. All of its methods can throw a MeshpassError with the code `kubernetes_unavailable`.
 */
export type Kubernetes = ReturnType<typeof createKubernetes>;

const Token = z.object({ status: z.object({ token: z.string().min(1) }) });
const Review = z.object({
  status: z.object({
    authenticated: z.boolean().optional(),
    audiences: z.array(z.string()).optional(),
    user: z.object({ username: z.string().optional() }).optional(),
  }),
});
const List = z.object({
  items: z.array(z.looseObject({ metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }) })),
});

/**
 * Creates the Kubernetes operations on top of an HTTP client.
 * @param isLeader returns whether this broker is known to be the active one. Otherwise, changes are rejected, because
 *   its list of revoked principals may be older than the list in the cluster. Token requests and reviews are still
 *   allowed.
 */
export function createKubernetes(http: KubernetesHttp, isLeader = () => true) {
  const change = async (call: KubernetesCall) => {
    if (isLeader()) return await http.call(call);
    throw new MeshpassError('kubernetes_unavailable', 'This broker is not active, so it cannot make changes.');
  };
  /** Creates a ServiceAccount unless it already exists. */
  const createServiceAccount = async ({ namespace, name }: Account, signal: AbortSignal) => {
    const body = {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      automountServiceAccountToken: false,
      metadata: { name, namespace, labels: { [MANAGED_BY_LABEL]: MANAGED_BY } },
    };
    const path = collectionPath('ServiceAccount', namespace);
    await change({ method: 'POST', path, body, expect: [409], signal });
  };
  const requestToken = async (account: Account, audience: string, signal?: AbortSignal) => {
    const answer = await http.call({
      method: 'POST',
      path: `${objectPath({ kind: 'ServiceAccount', metadata: account })}/token`,
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences: [audience], expirationSeconds: TOKEN_SECONDS },
      },
      expect: [404],
      ...(signal && { signal }),
    });
    return answer.status === 404 ? undefined : understood(Token, answer.body).status.token;
  };
  return {
    /**
     * Requests a token for a ServiceAccount (TokenRequest, authentication.k8s.io/v1).
     * @returns the token, or undefined if the ServiceAccount does not exist
     */
    requestToken,
    /**
     * Requests a ServiceAccount token that authenticates the broker to istiod, creating the ServiceAccount if it does
     * not exist. Such tokens are never sent anywhere else.
     * @param exists whether the ServiceAccount is likely to exist already. A wrong guess costs one additional call.
     */
    requestIstiodToken: async (account: Account, exists: boolean, signal: AbortSignal) => {
      let token = exists ? await requestToken(account, ISTIOD_AUDIENCE, signal) : undefined;
      if (token === undefined) {
        await createServiceAccount(account, signal);
        token = await requestToken(account, ISTIOD_AUDIENCE, signal);
      }
      if (token !== undefined) return token;
      throw new MeshpassError('kubernetes_unavailable', 'Failed to create the ServiceAccount. Try again shortly.', {
        detail: { ...account },
        retryAfter: 2,
      });
    },
    deleteServiceAccount: async (namespace: string, name: string) => {
      const path = objectPath({ kind: 'ServiceAccount', metadata: { namespace, name } });
      await change({ method: 'DELETE', path, expect: [404] });
    },
    /**
     * Validates a ServiceAccount token for an audience with a TokenReview.
     * @returns the user name (`system:serviceaccount:NAMESPACE:NAME`), or undefined if the token is invalid
     */
    reviewToken: async (token: string, audience: string) => {
      if (token === '' || token.length > MAX_TOKEN_BYTES) return undefined;
      const body = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences: [audience] },
      };
      const path = '/apis/authentication.k8s.io/v1/tokenreviews';
      const { status } = understood(Review, (await http.call({ method: 'POST', path, body })).body);
      // An authenticator that does not support audiences returns none. The token could then be meant for any audience.
      if (!status.authenticated || !status.audiences?.includes(audience)) return undefined;
      return status.user?.username;
    },
    /** Applies an object with server-side apply and takes ownership of any conflicting fields. */
    apply: async (manifest: Manifest) => void (await change(applyCall(manifest))),
    /**
     * Applies an object as a dry run, which includes admission control. If the object's namespace does not exist yet,
     * the object cannot be checked and is accepted.
     */
    rehearse: async (manifest: Manifest) => {
      const { query, ...call } = applyCall(manifest);
      await http.call({ ...call, query: { ...query, dryRun: 'All' }, expect: [404] });
    },
    /** Deletes an object and everything that it owns. It is not an error if the object does not exist. */
    remove: async (object: {
      readonly kind: string;
      readonly metadata: { readonly name: string; readonly namespace?: string };
    }) => {
      const query = { propagationPolicy: 'Background' };
      await change({ method: 'DELETE', path: objectPath(object), query, expect: [404] });
    },
    list: async (kind: string, labelSelector: string, namespace?: string) => {
      const path = collectionPath(kind, namespace);
      const { items } = understood(List, (await http.call({ method: 'GET', path, query: { labelSelector } })).body);
      // The API server does not include the kind in list items.
      return items.map((object) => ({ apiVersion: apiVersionOf(kind), kind, ...object })) as readonly ListedObject[];
    },
  };
}

function applyCall(manifest: Manifest) {
  return {
    method: 'PATCH' as const,
    path: objectPath(manifest),
    query: { fieldManager: FIELD_MANAGER, force: 'true' },
    contentType: 'application/apply-patch+yaml',
    body: manifest,
  };
}

/**
 * Validates a response from the API server against a schema.
 * @throws MeshpassError `kubernetes_unavailable`
 */
export function understood<T>(schema: z.ZodType<T>, body: unknown): T {
  const read = schema.safeParse(body);
  if (read.success) return read.data;
  // The error must not include the body, because the body may contain a token.
  throw new MeshpassError('kubernetes_unavailable', 'Kubernetes sent an unexpected response.', {
    detail: { issues: read.error.issues.map(({ path, code }) => `${path.join('.')}: ${code}`) },
  });
}
