/** Requests to the API of Kubernetes as data, and changes of objects by one member. */
import type { KubeObject } from '@meshpass/lab';

export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Admitted or refused as any other, and not kept: so that one input does not depend on another. */
  readonly dryRun: boolean;
  /** Field manager. */
  readonly manager?: string;
}

const PLURALS: Readonly<Record<string, string>> = { AuthorizationPolicy: 'authorizationpolicies' };

function collection({ apiVersion, kind, metadata }: KubeObject): string {
  const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const inside = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
  return `${base}${inside}/${PLURALS[kind] ?? `${kind.toLowerCase()}s`}`;
}

export function pathOf(object: KubeObject): string {
  return `${collection(object)}/${object.metadata.name}`;
}

/** Server-side apply, as the broker writes. */
export function apply(body: KubeObject, more: Partial<Request> = {}): Request {
  const contentType = 'application/apply-patch+yaml';
  return { method: 'PATCH', path: pathOf(body), body, contentType, dryRun: true, ...more };
}

export function merge(object: KubeObject, body: unknown, more: Partial<Request> = {}): Request {
  const contentType = 'application/merge-patch+json';
  return { method: 'PATCH', path: pathOf(object), body, contentType, dryRun: true, ...more };
}

export function post(body: KubeObject, more: Partial<Request> = {}): Request {
  return { method: 'POST', path: collection(body), body, dryRun: true, ...more };
}

export function remove(object: KubeObject, more: Partial<Request> = {}): Request {
  return { method: 'DELETE', path: pathOf(object), dryRun: true, ...more };
}

export function get(path: string): Request {
  return { method: 'GET', path, dryRun: false };
}

/** @param at members and indices from the outside in, with a space between (labels have slashes); undefined takes the member away */
export function changed(object: KubeObject, at: string, value: unknown): KubeObject {
  const copy = structuredClone(object) as unknown as Record<string, unknown>;
  const steps = at.split(' ');
  const last = steps.pop()!;
  let inner = copy;
  for (const step of steps) {
    inner[step] ??= {};
    inner = inner[step] as Record<string, unknown>;
  }
  if (value === undefined) delete inner[last];
  else inner[last] = value;
  return copy as unknown as KubeObject;
}
