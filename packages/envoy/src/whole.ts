/** Checks that apply to a configuration as a whole. Names must be unique, and references must resolve. */
import type { Message } from '@bufbuild/protobuf';
import { quoteUntrusted } from './allow/names.ts';
import type { Reference } from './allow/rule.ts';
import type { Kind } from './resource.ts';

export interface CheckedResource {
  /** The name to display. */
  readonly resource: string;
  readonly kind: Kind;
  readonly name: string;
  readonly message: Message;
  readonly references: readonly (readonly [Reference, string])[];
}

type Refuse = (resource: string, path: string, reason: string) => void;

/**
 * Rejects references that do not resolve. Envoy would wait for a missing route configuration, and the name of a missing
 * internal listener could be that of one of the agent's. Clusters may be missing: Envoy then responds with status 503,
 * just like in a Pod.
 */
export function checkResourceReferences(checked: readonly CheckedResource[], refuse: Refuse): void {
  const byName = indexNames(checked, refuse);
  const internal = (name: string): CheckedResource | undefined => {
    const found = byName.get(`listeners ${name}`);
    return found && socketOf(found.message) === undefined ? found : undefined;
  };
  for (const { resource, references } of checked) {
    for (const [kind, name] of references) {
      if (kind === 'route' && !byName.has(`routes ${name}`))
        refuse(resource, '', `route configuration ${quoteUntrusted(name)} is missing`);
      if (kind === 'internal listener' && !internal(name))
        refuse(resource, '', `internal listener ${quoteUntrusted(name)} is missing`);
    }
  }
  const leads = leadsToInternal(byName);
  for (const one of checked)
    if (one.kind.list === 'listeners' && socketOf(one.message) === undefined && leads(one))
      refuse(one.resource, '', 'an internal listener must not lead to another one, because requests could loop');
}

/** Indexes resources by list and name. Rejects resources that have the same name, and listeners on the same socket. */
function indexNames(checked: readonly CheckedResource[], refuse: Refuse): ReadonlyMap<string, CheckedResource> {
  const byName = new Map<string, CheckedResource>();
  const sockets = new Map<string, string>();
  for (const one of checked) {
    const key = `${one.kind.list} ${one.name}`;
    if (byName.has(key)) refuse(one.resource, 'name', 'another resource already has this name');
    byName.set(key, one);
    const socket = one.kind.list === 'listeners' ? socketOf(one.message) : undefined;
    if (socket === undefined) continue;
    if (sockets.has(socket))
      refuse(one.resource, 'address', `${quoteUntrusted(sockets.get(socket)!)} listens on the same address`);
    sockets.set(socket, one.name);
  }
  return byName;
}

/**
 * Creates a function that checks whether a resource leads to an internal listener through its routes and clusters. Each
 * resource is visited only once.
 */
function leadsToInternal(byName: ReadonlyMap<string, CheckedResource>): (from: CheckedResource) => boolean {
  const list = { cluster: 'clusters', route: 'routes' } as const;
  const known = new Map<CheckedResource, boolean>();
  const leads = (from: CheckedResource): boolean => {
    const before = known.get(from);
    if (before !== undefined) return before;
    const found = from.references.some(([kind, name]) => {
      if (kind === 'internal listener') return true;
      const next = byName.get(`${list[kind]} ${name}`);
      return next !== undefined && leads(next);
    });
    known.set(from, found);
    return found;
  };
  return leads;
}

function socketOf(message: Message): string | undefined {
  const { address } = message as unknown as { address?: { address: { case?: string; value?: Socket } } };
  const { case: kind, value } = address?.address ?? {};
  if (kind !== 'socketAddress') return undefined;
  const port = value?.portSpecifier?.value;
  return `${value?.address}:${port}`;
}

interface Socket {
  readonly address: string;
  readonly portSpecifier?: { readonly value?: number | string };
}
