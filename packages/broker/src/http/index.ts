/** Listeners, and the steps that every request passes through. */

// Routes.

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

// Bodies.

export { bodyTooLargeError, parseJson, readBody, readBytes, readInput } from './body.ts';

// Connection and request limits.

export { type Connections, createConnections, trackRequests } from './connections.ts';
export { createSlots } from './slots.ts';
export { createSourceReader } from './source-address.ts';

// Listeners.

export { readKeyPair } from './key-pair.ts';
export { listenPlain, listenTls } from './listen.ts';
