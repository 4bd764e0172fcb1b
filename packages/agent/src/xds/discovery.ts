/**
 * Serves a stream of Envoy's state-of-the-world discovery protocol (xDS, version 3), for both ADS and SDS. It keeps
 * track of subscriptions, of the resources that were sent, and of their acknowledgements.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageFromJson, TYPE_URL_PREFIX } from '@meshpass/envoy';

/** The resources of Envoy, by type and name. */
export type EnvoyResources = Readonly<Record<string, ReadonlyMap<string, Any>>>;

interface Resource {
  readonly any: Any;
  /** The version of the resource, which changes whenever the resource does. */
  readonly version: string;
}

/** Stores resources for Envoy by type and name, and notifies subscribers when they change. */
export class ResourceStore {
  readonly #types = new Map<string, ReadonlyMap<string, Resource>>();
  readonly #waiting = new Set<() => void>();
  #versions = 0;

  /** Returns the resources of a type. They are undefined until they are first set, which makes Envoy wait. */
  resources(type: string): ReadonlyMap<string, Resource> | undefined {
    return this.#types.get(type);
  }

  subscribe(changed: () => void): () => void {
    this.#waiting.add(changed);
    return () => this.#waiting.delete(changed);
  }

  /** Replaces all resources of the given types at once. Resources that have not changed keep their version. */
  set(types: EnvoyResources): void {
    for (const [type, resources] of Object.entries(types)) {
      const before = this.#types.get(type);
      const after = new Map<string, Resource>();
      for (const [name, any] of resources) {
        const known = before?.get(name);
        const isSame = known !== undefined && Buffer.compare(known.any.value, any.value) === 0;
        after.set(name, isSame ? known : { any, version: this.#newVersion() });
      }
      this.#types.set(type, after);
    }
    this.#wake();
  }

  /** Resends all resources of a type. Envoy keeps those that are in use, and retries those that have failed. */
  offerAgain(type: string): void {
    const resources = [...(this.#types.get(type) ?? [])];
    this.#types.set(type, new Map(resources.map(([name, { any }]) => [name, { any, version: this.#newVersion() }])));
    this.#wake();
  }

  /** Wakes up all streams. Each of them only sends what has changed. */
  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  #newVersion(): string {
    this.#versions += 1;
    return String(this.#versions);
  }
}

/** Envoy's reaction to a discovery response. */
export interface DiscoveryAck {
  readonly type: string;
  /** The resource names that Envoy requested. Empty if it requested all resources. */
  readonly names: readonly string[];
  /** Whether the response contained the current resources. If not, another response will follow. */
  readonly isNewest: boolean;
  /** The error message from Envoy. Undefined if Envoy has accepted the resources. */
  readonly rejection: string | undefined;
}

/** The fields of `envoy.service.discovery.v3.DiscoveryRequest` that are used here. */
export interface DiscoveryRequest extends Message {
  readonly typeUrl: string;
  readonly resourceNames: readonly string[];
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string };
}

interface Subscription {
  names: readonly string[];
  /** The versions of the resources in the last response. */
  sent: string | undefined;
  nonce: string;
  answered: boolean;
}

/** The resource types in the order of their dependencies. Listeners refer to routes, and both refer to clusters. */
const ORDER = ['Cluster', 'Listener', 'RouteConfiguration', 'Secret'];
/** The maximum number of resource types per stream. Envoy only requests resources that its configuration refers to. */
const MAX_TYPES = 8;
const MAX_NAMES = 4_096;

/**
 * Serves a stream of discovery requests until it ends.
 * @param answered called with Envoy's reaction to each response
 * @yields messages of type `envoy.service.discovery.v3.DiscoveryResponse`
 */
export async function* serveDiscovery(
  requests: AsyncIterable<Message>,
  source: ResourceStore,
  answered: (answer: DiscoveryAck) => void,
): AsyncGenerator<Message> {
  const subscriptions = new Map<string, Subscription>();
  let ended = false;
  let wake = () => {};
  const unsubscribe = source.subscribe(() => wake());
  const reading = (async () => {
    for await (const request of requests) {
      take(subscriptions, request as DiscoveryRequest, source, answered);
      wake();
    }
  })();
  reading
    .catch(() => {})
    .finally(() => {
      ended = true;
      wake();
    });
  let nonce = 0;
  try {
    while (!ended) {
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      // The check is repeated after each response, because the resources may have changed in the meantime.
      for (let due = nextDue(subscriptions, source); due; due = nextDue(subscriptions, source)) {
        nonce += 1;
        Object.assign(due.subscription, { sent: due.sent, nonce: String(nonce), answered: false });
        yield response(due.type, [...due.found.values()], nonce);
      }
      if (!ended) await woken;
    }
  } finally {
    unsubscribe();
  }
}

/**
 * Returns the first subscription for which Envoy does not have the current resources. There is at most one pending
 * response per type. Later changes must wait until it is acknowledged, and so must types that may refer to its
 * resources, because Envoy rejects a listener with an unknown cluster. If that listener was supposed to replace another
 * one, nothing would listen on its address until the next offer.
 */
function nextDue(subscriptions: ReadonlyMap<string, Subscription>, source: ResourceStore) {
  for (const [type, subscription] of inOrder(subscriptions)) {
    const known = source.resources(type);
    if (!known) continue;
    const found = select(known, subscription.names);
    const sent = versionsOf(found);
    if (sent === subscription.sent || (found.size === 0 && subscription.names.length > 0)) continue;
    return subscription.answered ? { type, subscription, found, sent } : undefined;
  }
  return undefined;
}

function take(
  subscriptions: Map<string, Subscription>,
  request: DiscoveryRequest,
  source: ResourceStore,
  answered: (answer: DiscoveryAck) => void,
) {
  const type = request.typeUrl.slice(TYPE_URL_PREFIX.length);
  const names = request.resourceNames.slice(0, MAX_NAMES);
  const subscription = subscriptions.get(type);
  if (!subscription) {
    if (subscriptions.size < MAX_TYPES) subscriptions.set(type, { names, sent: undefined, nonce: '', answered: true });
    return;
  }
  // A nonce from an earlier response is ignored, because Envoy will acknowledge the latest response as well.
  if (request.responseNonce !== subscription.nonce) return;
  if (!subscription.answered) {
    const known = source.resources(type) ?? new Map<string, Resource>();
    const isNewest = versionsOf(select(known, subscription.names)) === subscription.sent;
    answered({ type, names, isNewest, rejection: request.errorDetail?.message });
  }
  if (names.join() !== subscription.names.join()) subscription.sent = undefined;
  Object.assign(subscription, { names, answered: true });
}

function inOrder(subscriptions: ReadonlyMap<string, Subscription>) {
  const rank = (type: string) => ORDER.indexOf(type.slice(type.lastIndexOf('.') + 1));
  return [...subscriptions].sort(([a], [b]) => rank(a) - rank(b));
}

function select(all: ReadonlyMap<string, Resource>, names: readonly string[]): ReadonlyMap<string, Resource> {
  if (names.length === 0) return all;
  return new Map(names.flatMap((name) => (all.has(name) ? [[name, all.get(name)!] as const] : [])));
}

function versionsOf(resources: ReadonlyMap<string, Resource>): string {
  return [...resources].map(([name, { version }]) => `${name} ${version}`).join('\n');
}

function response(type: string, resources: readonly Resource[], nonce: number): Message {
  const message = messageFromJson('envoy.service.discovery.v3.DiscoveryResponse', {
    version_info: String(nonce),
    type_url: TYPE_URL_PREFIX + type,
    nonce: String(nonce),
  }) as Message & { resources: Any[] };
  message.resources = resources.map(({ any }) => any);
  return message;
}
