/** Listeners, and the steps that every request takes. */

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

export { parseJson, readBody, readBytes, readInput, tooLarge } from './body.ts';

// Connection and request limits.

export { beginRequest, type Connections, createConnections } from './connections.ts';
export { createSlots } from './slots.ts';
export { sourceReader } from './source-address.ts';

// Listeners.

export { readKeyPair } from './key-pair.ts';
export { listenPlain, listenTls } from './listen.ts';
