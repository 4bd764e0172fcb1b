/** Provides the HTTP listeners, and the steps that every request goes through. */

// How routes are defined, and what happens to each request.

export { refusal } from './refusal.ts';
export { requireLeader } from './require-leader.ts';
export {
  type Authentication,
  type Call,
  type Env,
  mount,
  type Presented,
  type Route,
  type RouteContext,
  route,
} from './route.ts';

// Reading and validating request bodies.

export { bodyTooLargeError, parseJson, readBody, readBytes, readInput } from './body.ts';

// Limits on connections and requests.

export { type Connections, createConnections, trackRequests } from './connections.ts';
export { createSlots } from './slots.ts';
export { createSourceReader } from './source-address.ts';

// Opening listeners.

export { readKeyPair } from './key-pair.ts';
export { listenPlain, listenTls } from './listen.ts';
