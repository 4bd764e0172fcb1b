/** Defines the context of the installation checks, and helpers that query the cluster. */
import type { KubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';

/** Locates the parts of an installation that exists or is planned. */
export interface Installation {
  /** The namespace of the Helm release. */
  readonly namespace: string;
  readonly rootNamespace: string;
  /** The name of istiod's Service. */
  readonly istiod: string;
  readonly gateway: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly port: number;
  };
  readonly gitops: boolean;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
}

export interface CheckContext extends Installation {
  readonly http: Pick<KubernetesHttp, 'call'>;
}

/** A Kubernetes object. Only the fields that the checks need are typed. */
export interface Seen {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: looked at member by member, each of which may be absent
  readonly [member: string]: any;
}

/**
 * Reads a single object from the API server.
 * @returns undefined if the object does not exist
 * @throws MeshpassError `kubernetes_unavailable`
 */
export async function read(http: CheckContext['http'], path: string): Promise<Seen | undefined> {
  const { status, body } = await http.call({ method: 'GET', path, expect: [404] });
  return status === 404 ? undefined : (body as Seen);
}

/**
 * Lists objects, optionally filtered by labels.
 * @returns an empty list if the resource kind is not installed
 * @throws MeshpassError `kubernetes_unavailable`
 */
export async function list(
  http: CheckContext['http'],
  path: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<readonly Seen[]> {
  const labelSelector = formatSelector(labels);
  const query: Record<string, string> = labelSelector === '' ? {} : { labelSelector };
  const { body } = await http.call({ method: 'GET', path, query, expect: [404] });
  return (body as { items?: readonly Seen[] } | undefined)?.items ?? [];
}

/** Formats labels as `key=value,key=value`, as the API server and kubectl expect them. */
export function formatSelector(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}
