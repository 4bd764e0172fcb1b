/**
 * Applies the allow list in the agent. The agent either accepts a whole configuration, or rejects it and reports all
 * reasons.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { memoize } from '@meshpass/identity';
import { quoteUntrusted } from './allow/names.ts';
import type { Reference } from './allow/rule.ts';
import {
  type ExpectedValues,
  KINDS,
  type Kind,
  kindOf,
  MAX_CONFIGURATION_BYTES,
  MAX_COST_KIB,
  MAX_DEPTH,
  MAX_REFUSALS,
  MAX_RESOURCE_BYTES,
  MAX_RESOURCES,
  MAX_VALUES,
  type Refusal,
  type WorkspaceConfiguration,
} from './configuration.ts';
import { decodeMessage, walkResource } from './walk.ts';

/** A resource that has been decoded and checked on its own. */
interface CheckedResource {
  /** The name to display. */
  readonly resource: string;
  readonly kind: Kind;
  readonly name: string;
  readonly message: Message;
  /** The address and port of a listener with a socket. */
  readonly socket: string | undefined;
  readonly references: readonly (readonly [Reference, string])[];
}

type Refuse = (resource: string, path: string, reason: string) => void;

/**
 * Checks a configuration from the broker against the allow list.
 * @returns the refusals, at most MAX_REFUSALS, or an empty list if the configuration is accepted. Send the messages
 *   from `readConfiguration` to Envoy, not the bytes from the broker, which two parsers might decode differently
 */
export function checkConfiguration(
  configuration: WorkspaceConfiguration,
  expected: ExpectedValues,
): readonly Refusal[] {
  return readConfiguration(configuration, expected).refusals;
}

/**
 * Checks a configuration in the same way as `checkConfiguration`, and also returns the checked messages if there are no
 * refusals. Unknown parts are reported as refusals.
 */
export function readConfiguration(configuration: WorkspaceConfiguration, expected: ExpectedValues) {
  const refusals: Refusal[] = [];
  const refuse: Refuse = (resource, path, reason) => {
    refusals.push({ resource, path, reason });
    if (refusals.length >= MAX_REFUSALS) throw new Enough();
  };
  const checked: CheckedResource[] = [];
  try {
    checkAll(configuration, expected, checked, refuse);
  } catch (error) {
    if (!(error instanceof Enough)) throw error;
  }
  const read = (list: Kind['list']) => checked.flatMap(({ kind, message }) => (kind.list === list ? message : []));
  return { refusals, listeners: read('listeners'), clusters: read('clusters'), routes: read('routes') };
}

/** Thrown to stop the check early, because the configuration has already been rejected. */
class Enough extends Error {}

function checkAll(
  configuration: WorkspaceConfiguration,
  expected: ExpectedValues,
  checked: CheckedResource[],
  refuse: Refuse,
): void {
  const tooMuch = bound(configuration);
  if (tooMuch !== undefined) {
    refuse('configuration', '', tooMuch);
    return;
  }
  const budget = (most: number, reason: string) => {
    let sum = 0;
    return (more: number): void => {
      sum += more;
      if (sum <= most) return;
      refuse('configuration', '', reason);
      throw new Enough();
    };
  };
  const count = budget(MAX_VALUES, `more than ${MAX_VALUES} values`);
  const spend = budget(MAX_COST_KIB, `Envoy would need more than ${MAX_COST_KIB / 1_024} MiB`);
  for (const kind of KINDS) {
    for (const [index, any] of configuration[kind.list].entries()) {
      const message = readResource(any, kind, count, (reason) => refuse(`${kind.list}[${index}]`, '', reason));
      if (!message) continue;
      const { name } = message;
      const resource = `${kind.title} ${quoteUntrusted(name).slice(1, -1)}`;
      const references: [Reference, string][] = [];
      walkResource(message, {
        expected,
        repair: false,
        count,
        spend,
        found: ({ where, reason, what }) => refuse(resource, where, `${what}: ${reason}`),
        refer: (to, name) => references.push([to, name]),
      });
      checked.push({ resource, kind, message, name, socket: socketOf(message), references });
    }
  }
  checkResourceReferences(checked, refuse);
}

/** Checks the limits that can be checked before decoding anything. */
function bound({ listeners, clusters, routes }: WorkspaceConfiguration): string | undefined {
  const count = listeners.length + clusters.length + routes.length;
  if (count > MAX_RESOURCES) return `${count} resources; at most ${MAX_RESOURCES} are accepted`;
  const bytes = [...listeners, ...clusters, ...routes].reduce((sum, { value }) => sum + value.length, 0);
  return bytes > MAX_CONFIGURATION_BYTES
    ? `${bytes} bytes; at most ${MAX_CONFIGURATION_BYTES} are accepted`
    : undefined;
}

function readResource(
  any: Any,
  kind: Kind,
  count: (values: number) => void,
  refuse: (reason: string) => void,
): ResourceMessage | undefined {
  if (kindOf(any) !== kind) return void refuse(`${quoteUntrusted(any.typeUrl)} is not a ${kind.title}`);
  if (any.value.length > MAX_RESOURCE_BYTES)
    return void refuse(`${any.value.length} bytes; at most ${MAX_RESOURCE_BYTES} are accepted`);
  const message = decodeMessage(kind.type, any.value, MAX_DEPTH, count);
  return (message as ResourceMessage | undefined) ?? void refuse('it cannot be decoded, or is nested too deeply');
}

/**
 * Rejects references that do not resolve. Envoy would wait for a missing route configuration, and the name of a missing
 * internal listener could be that of one of the agent's. Clusters may be missing: Envoy then responds with status 503,
 * just like in a Pod.
 */
function checkResourceReferences(checked: readonly CheckedResource[], refuse: Refuse): void {
  const byName = indexNames(checked, refuse);
  const isInternal = (one: CheckedResource | undefined) => one?.kind.list === 'listeners' && one.socket === undefined;
  for (const { resource, references } of checked) {
    for (const [kind, name] of references) {
      if (kind === 'route' && !byName.has(`routes ${name}`))
        refuse(resource, '', `route configuration ${quoteUntrusted(name)} is missing`);
      if (kind === 'internal listener' && !isInternal(byName.get(`listeners ${name}`)))
        refuse(resource, '', `internal listener ${quoteUntrusted(name)} is missing`);
    }
  }
  const list = { cluster: 'clusters', route: 'routes' } as const;
  /** Returns whether a resource leads to an internal listener through its routes and clusters. */
  const leads: (from: CheckedResource) => boolean = memoize(({ references }) =>
    references.some(([kind, name]) => {
      if (kind === 'internal listener') return true;
      const next = byName.get(`${list[kind]} ${name}`);
      return next !== undefined && leads(next);
    }),
  );
  for (const one of checked)
    if (isInternal(one) && leads(one))
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
    const { socket } = one;
    if (socket === undefined) continue;
    if (sockets.has(socket))
      refuse(one.resource, 'address', `${quoteUntrusted(sockets.get(socket)!)} listens on the same address`);
    sockets.set(socket, one.name);
  }
  return byName;
}

/** Returns the address and port of a listener, or undefined for an internal listener or any other resource. */
function socketOf(message: ResourceMessage): string | undefined {
  const { case: kind, value } = message.address?.address ?? {};
  return kind === 'socketAddress' ? `${value?.address}:${value?.portSpecifier?.value}` : undefined;
}

interface ResourceMessage extends Message {
  readonly name: string;
  readonly address?: {
    readonly address: {
      readonly case?: string;
      readonly value?: { readonly address: string; readonly portSpecifier?: { readonly value?: number | string } };
    };
  };
}
