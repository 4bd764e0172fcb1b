/**
 * The state of the world of Envoy's discovery protocol (xDS, version 3), for one stream: what was asked for, what was sent, and
 * whether it was taken. ADS and SDS are both served by it.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageOf, TYPE_URL_PREFIX } from '@meshpass/envoy';

export interface Resource {
  readonly any: Any;
  /** Differs whenever the resource does. */
  readonly version: string;
}

/** Where the resources of a stream come from. */
export interface ResourceSource {
  /** Those of a type, by name; undefined while they are not known yet. */
  resources(type: string): ReadonlyMap<string, Resource> | undefined;
  /** @returns ends the subscription */
  subscribe(changed: () => void): () => void;
}

/** What Envoy answered to resources that it was sent. */
export interface Answered {
  readonly type: string;
  /** That it asked for; none: all. */
  readonly names: readonly string[];
  /** Whether that is what there is now; otherwise there will be another answer, to what has come since. */
  readonly isNewest: boolean;
  /** Undefined where it took them. */
  readonly rejection: string | undefined;
}

/** `envoy.service.discovery.v3.DiscoveryRequest`, as far as it is read here. */
export interface DiscoveryRequest extends Message {
  readonly typeUrl: string;
  readonly resourceNames: readonly string[];
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string };
}

interface Subscription {
  names: readonly string[];
  /** What was sent last: versions of the resources, and the nonce that the answer must carry. */
  sent: string | undefined;
  nonce: string;
  answered: boolean;
}

/** Types in the order in which Envoy needs them: a listener names routes, and both name clusters. */
const ORDER = ['Cluster', 'Listener', 'RouteConfiguration', 'Secret'];
/** Types and names that one stream may ask for: Envoy asks for as many as it was given. */
const MAX_TYPES = 8;
const MAX_NAMES = 4_096;

/**
 * Answers a stream of discovery requests.
 * @param answered told whether Envoy took what it was sent
 * @yields responses, as JSON-made messages of `envoy.service.discovery.v3.DiscoveryResponse`
 */
export async function* discover(
  requests: AsyncIterable<Message>,
  source: ResourceSource,
  answered: (answer: Answered) => void,
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
      for (const [type, subscription] of inOrder(subscriptions)) {
        // One response at a time: what changes meanwhile goes with the next.
        if (!subscription.answered) continue;
        const known = source.resources(type);
        if (!known) continue;
        const found = select(known, subscription.names);
        const versions = versionsOf(found);
        if (versions === subscription.sent || (found.size === 0 && subscription.names.length > 0)) continue;
        nonce += 1;
        Object.assign(subscription, { sent: versions, nonce: String(nonce), answered: false });
        yield response(type, [...found.values()], nonce);
      }
      if (!ended) await woken;
    }
  } finally {
    unsubscribe();
  }
}

function take(
  subscriptions: Map<string, Subscription>,
  request: DiscoveryRequest,
  source: ResourceSource,
  answered: (answer: Answered) => void,
) {
  const type = request.typeUrl.slice(TYPE_URL_PREFIX.length);
  const names = request.resourceNames.slice(0, MAX_NAMES);
  const subscription = subscriptions.get(type);
  if (!subscription) {
    if (subscriptions.size < MAX_TYPES) subscriptions.set(type, { names, sent: undefined, nonce: '', answered: true });
    return;
  }
  if (request.responseNonce !== subscription.nonce) return; // of an earlier response: another answer will come
  if (!subscription.answered) {
    const known = source.resources(type) ?? new Map<string, Resource>();
    const isNewest = versionsOf(select(known, subscription.names)) === subscription.sent;
    answered({ type, names, isNewest, rejection: request.errorDetail?.message });
  }
  if (names.join() !== subscription.names.join()) subscription.sent = undefined;
  Object.assign(subscription, { names, answered: true });
}

function* inOrder(subscriptions: ReadonlyMap<string, Subscription>) {
  const rank = (type: string) => ORDER.indexOf(type.slice(type.lastIndexOf('.') + 1));
  yield* [...subscriptions].sort(([a], [b]) => rank(a) - rank(b));
}

function select(all: ReadonlyMap<string, Resource>, names: readonly string[]): ReadonlyMap<string, Resource> {
  if (names.length === 0) return all;
  return new Map(names.flatMap((name) => (all.has(name) ? [[name, all.get(name)!] as const] : [])));
}

function versionsOf(resources: ReadonlyMap<string, Resource>): string {
  return [...resources].map(([name, { version }]) => `${name} ${version}`).join('\n');
}

function response(type: string, resources: readonly Resource[], nonce: number): Message {
  const message = messageOf('envoy.service.discovery.v3.DiscoveryResponse', {
    ...{ version_info: String(nonce), type_url: TYPE_URL_PREFIX + type, nonce: String(nonce) },
  }) as Message & { resources: Any[] };
  message.resources = resources.map(({ any }) => any);
  return message;
}
