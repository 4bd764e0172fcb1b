/**
 * Edits an access file as little as possible so that it allows one more call. This either adds an operation to the
 * service's entry, or adds an entry to the grant. Text is inserted at positions from the YAML parser, so all comments,
 * the order and the style are preserved.
 */
import { MeshpassError } from '@meshpass/identity';
import { isMap, isScalar, isSeq, type Node, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml';
import { appendToList, appendToMap, type Splice, splice } from './splice.ts';

export interface CallToAllow {
  readonly grant: string;
  readonly service: string;
  readonly namespace: string;
  readonly port: number;
  /** The operation to allow. If absent, the whole port is allowed, for services that do not use HTTP. */
  readonly operation?: { readonly method: string; readonly path: string };
}

/**
 * Adds a call to those that a grant allows.
 * @param text the text of the file that contains the grant. It must have been loaded without errors
 * @returns the changed text
 * @throws MeshpassError `patch_refused` if a person has to decide how to change the file
 * @example
 * ```ts
 * import { allowCall } from '@meshpass/access';
 * const text = 'grants:\n  dev:\n    to:\n      - service: orders.shop\n        port: 80\n        allow: [GET /orders] # more?\n';
 * const operation = { method: 'POST', path: '/orders' };
 * const call = { grant: 'dev', service: 'orders', namespace: 'shop', port: 80, operation };
 * allowCall(text, call).split('\n')[5]; // => '        allow: [GET /orders, POST /orders] # more?'
 * ```
 */
export function allowCall(text: string, call: CallToAllow): string {
  const { grant } = call;
  const document = parseDocument(text, { keepSourceTokens: true, version: '1.2', schema: 'core', uniqueKeys: false });
  const to = document.getIn(['grants', grant, 'to'], true);
  if (!isSeq(to)) throw refusal(`This file has no grant ${grant} with a "to" list.`);
  const entry = entryFor(to, call);
  return splice(text, entry ? inEntry(text, entry, call) : appendToList(text, to as YAMLSeq<Node>, newEntry(call)));
}

/**
 * Finds the first entry that lists the service's port, because this is the entry that applies. Entries that select
 * services by label or pattern cannot be resolved without the mesh, so they are ignored.
 */
function entryFor(to: YAMLSeq, { service, namespace, port, grant }: CallToAllow): YAMLMap | undefined {
  const named = to.items.filter((item): item is YAMLMap => {
    if (!isMap(item)) return false;
    const name = textOf(item, 'service');
    const host = textOf(item, 'host') ?? '';
    return (
      item.get('labels') === undefined &&
      (name === `${service}.${namespace}` ||
        (name === service && textOf(item, 'namespace') === namespace) ||
        host.startsWith(`${service}.${namespace}.svc.`))
    );
  });
  const ports = (item: YAMLMap): unknown[] => {
    const listed = item.get('ports');
    return isSeq(listed) ? listed.items.map((one) => (isScalar(one) ? one.value : one)) : [item.get('port')];
  };
  const exact = named.find((item) => ports(item).includes(port));
  if (exact) return exact;
  if (named.some((item) => ports(item).some((one) => typeof one === 'string')))
    throw refusal(
      `Grant ${grant} lists ports of ${service}.${namespace} by name, and only the mesh knows which one is ${port}. Edit the file by hand.`,
    );
  return undefined;
}

function inEntry(text: string, entry: YAMLMap, { operation, grant }: CallToAllow): Splice {
  const allow = entry.get('allow', true) as unknown;
  const grpc = entry.get('grpc', true) as unknown;
  if (!isSeq(allow) && !isSeq(grpc))
    throw refusal(
      `Grant ${grant} already allows the whole port, so a missing operation is not the cause of the refusal.`,
    );
  if (!operation)
    throw refusal(`Grant ${grant} allows only HTTP operations on this port, but this connection is not HTTP.`);
  const asGrpc = grpcMethod(operation);
  if (isSeq(grpc) && !isSeq(allow) && asGrpc) return appendToList(text, grpc as YAMLSeq<Node>, { flow: asGrpc });
  const written = scalar(`${operation.method} ${operation.path}`);
  if (isSeq(allow)) return appendToList(text, allow as YAMLSeq<Node>, { flow: written });
  return appendToMap(text, entry, `allow: [${written}]`);
}

/**
 * Returns the name of the gRPC method that an operation calls, if any. A gRPC call is a POST request to the method's
 * path (gRPC over HTTP/2, "Requests").
 */
function grpcMethod({ method, path }: { readonly method: string; readonly path: string }): string | undefined {
  return method === 'POST' && /^\/[A-Za-z_][\w.]*\/[A-Za-z_]\w*$/.test(path) ? path.slice(1) : undefined;
}

function newEntry({ service, namespace, port, operation }: CallToAllow) {
  const allow = operation && `allow: [${scalar(`${operation.method} ${operation.path}`)}]`;
  const members = [`service: ${service}.${namespace}`, `port: ${port}`, ...(allow ? [allow] : [])];
  return { flow: `{ ${members.join(', ')} }`, block: members };
}

/** Formats a YAML scalar. It is only quoted if the plain form could be ambiguous. */
function scalar(text: string): string {
  return /^[A-Za-z][A-Za-z0-9 /._~*@-]*$/.test(text) ? text : JSON.stringify(text);
}

function textOf(map: YAMLMap, key: string): string | undefined {
  const value = map.get(key);
  return typeof value === 'string' ? value : undefined;
}

function refusal(message: string): MeshpassError {
  return new MeshpassError('patch_refused', message);
}
