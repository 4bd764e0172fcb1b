/** Options of the API's routes, and its address. */
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { Budget } from './budget.ts';
import type { Caller } from './caller.ts';
import type { Base } from './shape.ts';
import type { State } from './state.ts';

export interface ApiOptions {
  readonly state: () => State;
  /** Called after each change of the state. */
  readonly changed: () => void;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** PEM, as GitHub returns it when an App is registered. */
  readonly appPrivateKey: string;
}

export type ApiEnv = { Bindings: HttpBindings; Variables: { caller: Caller; budget: Budget } };

export function base(c: Context<ApiEnv>): Base {
  const { protocol, host } = new URL(c.req.url);
  return { api: `${protocol}//${host}`, web: 'https://github.com' };
}
