/**
 * Defines the routes of the HTTP API as plain objects. Every request goes through the same steps: authenticate the
 * caller, read the body, call the handler, and respond. If a step throws an error, the request is refused, and the
 * refusal is recorded in the audit log.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Context, Hono } from 'hono';
import type { Logger } from 'pino';
import type { z } from 'zod';
import {
  type AuditAction,
  type AuditContext,
  type AuditEvent,
  annotateEvent,
  createAuditEvent,
  recordRefusal,
} from '../audit/index.ts';
import type { Clock, Random } from '../base/index.ts';
import { readInput, readJson } from './body.ts';
import { refusal } from './refusal.ts';
import type { SourceOf } from './source-address.ts';

/** The Hono environment shared by all listeners. */
export interface Env {
  Bindings: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse };
  Variables: { requestId: string };
}

/** The definition of a route. */
export interface Route<Caller = unknown, Body = unknown> {
  /** The method and the path, such as `POST /token`. */
  readonly at: `${'GET' | 'POST' | 'DELETE'} /${string}`;
  /** The action that the audit event records. */
  readonly action: AuditAction;
  /** Whether the request is meant for this route. Only needed if two routes have the same path. */
  readonly accepts?: (request: IncomingMessage) => boolean;
  readonly authentication: Authentication<Caller>;
  /** The schema of a JSON body, or of the query for `GET`. Absent if neither is read, or if `read` reads the body. */
  readonly schema?: z.ZodType<Body>;
  /** The maximum size of a JSON body in bytes. */
  readonly limit?: number;
  /**
   * Reads a body that is not JSON.
   * @throws MeshpassError
   */
  readonly read?: (request: IncomingMessage) => Promise<Body>;
  /** Returns the audit event members that come from the body. They are recorded even if the handler throws. */
  auditMembers?(body: Body): Pick<AuditEvent, 'target' | 'detail'>;
  /**
   * Creates the response for a refusal. Defaults to a JSON response.
   * @param decisionId the id of the audit row, or undefined if the refusal was only counted
   */
  readonly refusal?: (
    error: MeshpassError,
    decisionId: string | undefined,
    request: IncomingMessage,
  ) => Promise<Response>;
  /** Whether an invalid DPoP proof results in status 400 rather than 401 (RFC 9449 section 5). */
  readonly atTokenEndpoint?: boolean;
  /**
   * Decides on the request and, if it is allowed, records the decision and its changes (see `recordAllowed`). Allowed
   * reads do not write an audit row. Throw an error to refuse the request.
   * @returns a value to serialize as JSON, a Response, or undefined for status 204
   */
  handler(call: Call<Caller, Body>): Promise<unknown>;
}

/** A request whose body has not been read yet. */
export interface Presented {
  readonly request: IncomingMessage;
  readonly event: AuditEvent;
  readonly path: string;
}

/**
 * Authenticates the caller. From this point on, the audit event includes their identity, even if the request is
 * rejected later. Throw an error to reject the caller.
 */
export interface Authentication<Caller> {
  (presented: Presented): Caller | Promise<Caller>;
  /**
   * Checks the caller again once the body has arrived, because the session may have ended while the client was delaying
   * the body. Throw an error to reject the caller.
   */
  still?(caller: Caller): Caller;
}

/** An authenticated request, including its body. */
export interface Call<Caller, Body> {
  readonly caller: Caller;
  /** The request body, or the query for `GET`. */
  readonly body: Body;
  readonly event: AuditEvent;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The path parameters by name. */
  readonly params: Readonly<Record<string, string>>;
}

export interface RouteContext {
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  readonly sourceOf: SourceOf;
  readonly log: Logger;
}

/** Defines a route, inferring the types of the caller and body that the handler receives. */
export function route<Caller, Body>(one: Route<Caller, Body>): Route {
  return one;
}

/** Mounts routes on an app. Their requests are authenticated, and refusals are audited and sent to the client. */
export function mount(app: Hono<Env>, context: RouteContext, routes: readonly Route[]): void {
  for (const one of routes) {
    const [method = '', path = ''] = one.at.split(' ');
    app.on(method, path, (c, next) => (one.accepts?.(c.env.incoming) === false ? next() : answer(context, c, one)));
  }
}

async function answer(context: RouteContext, c: Context<Env>, one: Route): Promise<Response> {
  const origin = { source: context.sourceOf(c.env.incoming), requestId: c.get('requestId') };
  const event = createAuditEvent(one.action, origin, context.clock, context.random);
  try {
    return respond(await handle(one, c, event));
  } catch (thrown) {
    return await refuse(context, c, one, event, toMeshpassError(thrown));
  }
}

async function handle(one: Route, c: Context<Env>, event: AuditEvent): Promise<unknown> {
  const { incoming: request, outgoing: response } = c.env;
  // Authenticate the caller before reading the body, so that the body of an unauthenticated client is only read if the
  // body itself contains the proof.
  const caller = await one.authentication({ request, event, path: c.req.path });
  const body = await readAsked(one, c);
  const { still = (same: unknown) => same } = one.authentication;
  const callerNow = still(caller);
  annotateEvent(event, one.auditMembers?.(body) ?? {});
  const params = c.req.param() as Record<string, string>;
  return await one.handler({ caller: callerNow, body, event, request, response, params });
}

/** Records a refusal, unless the request was already recorded as allowed, and builds its response. */
async function refuse(
  context: RouteContext,
  c: Context<Env>,
  one: Route,
  event: AuditEvent,
  error: MeshpassError,
): Promise<Response> {
  const tell = async (error: MeshpassError, decisionId: string | undefined) =>
    (await one.refusal?.(error, decisionId, c.env.incoming)) ?? refusal(error, decisionId, one.atTokenEndpoint);
  if (event.written) {
    const { code, message, detail, cause } = error;
    context.log.info({ decision: event.id, action: event.action, code, message, detail, err: cause }, 'withheld');
    return await tell(error, event.id);
  }
  try {
    const { metered } = await recordRefusal(context.audit, event, error);
    return await tell(error, metered ? undefined : event.id);
  } catch (thrown) {
    return await tell(toMeshpassError(thrown), event.id);
  }
}

async function readAsked({ at, schema, limit, read }: Route, c: Context<Env>): Promise<unknown> {
  const { incoming } = c.env;
  if (!schema) return await read?.(incoming);
  return at.startsWith('GET ') ? readInput(c.req.query(), schema, 'query') : await readJson(incoming, schema, limit);
}

const NO_STORE = { 'content-type': 'application/json', 'cache-control': 'no-store', pragma: 'no-cache' };

function respond(value: unknown): Response {
  if (value instanceof Response) return value;
  return value === undefined
    ? new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
    : new Response(JSON.stringify(value), { headers: NO_STORE });
}
