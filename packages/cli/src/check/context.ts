/** What the checks of an installation are given, and how they ask the cluster. */
import type { KubernetesHttp } from '@meshpass/broker/kubernetes/http';
import { toMeshpassError } from '@meshpass/identity/error';
import { type Finding, failed, type More } from '../doctor/line.ts';

export interface CheckContext {
  readonly http: Pick<KubernetesHttp, 'call'>;
  /** Of the release. */
  readonly namespace: string;
  readonly rootNamespace: string;
  /** Name of its Service. */
  readonly istiod: string;
  readonly gateway: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly port: number;
  };
  readonly gitops: boolean;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** An object of Kubernetes, as far as a check looks at it. */
export interface Seen {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  // biome-ignore lint/suspicious/noExplicitAny: looked at member by member, each of which may be absent
  readonly [member: string]: any;
}

/** @returns undefined where it is not there @throws MeshpassError `kubernetes_unavailable` */
export async function read(http: CheckContext['http'], path: string): Promise<Seen | undefined> {
  const { status, body } = await http.call({ method: 'GET', path, expect: [404] });
  return status === 404 ? undefined : (body as Seen);
}

/** @returns nothing where the kind is not installed @throws MeshpassError `kubernetes_unavailable` */
export async function list(
  http: CheckContext['http'],
  path: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<readonly Seen[]> {
  const labelSelector = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  const query: Record<string, string> = labelSelector === '' ? {} : { labelSelector };
  const { body } = await http.call({ method: 'GET', path, query, expect: [404] });
  return (body as { items?: readonly Seen[] } | undefined)?.items ?? [];
}

/** Runs a check; what Kubernetes refuses to show is a finding, too. */
export async function attempt(
  check: string,
  look: () => Promise<readonly Finding[]>,
  more: More = {},
): Promise<readonly Finding[]> {
  try {
    return await look();
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    const { status, method, path } = error.detail;
    const seen = path === undefined ? {} : { seen: `${method} ${path}${status === undefined ? '' : `: ${status}`}` };
    if (status !== 403) return [failed(check, error, { ...seen, ...more })];
    const what = 'You may not look at this: use a kubeconfig of somebody who may.';
    return [{ check, state: 'failed', code: error.code, says: what, ...seen, command: 'kubectl auth whoami' }];
  }
}

export function fine(check: string, says: string, seen?: string): Finding {
  return { check, state: 'ok', says, ...(seen !== undefined && { seen }) };
}
