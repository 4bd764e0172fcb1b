/**
 * Routes of the HTTP API, defined as plain objects. Every request passes through the same steps: authenticate, read the
 * body, handle, record a refusal, respond.
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

/** Hono environment of all listeners. */
export interface Env {
  Bindings: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse };
  Variables: { requestId: string };
}

/** Definition of a route. */
export interface Route<Caller = unknown, Body = unknown> {
  /** Method and path, such as `POST /token`. */
  readonly at: `${'GET' | 'POST' | 'DELETE'} /${string}`;
  /** Action of the audit event. */
  readonly action: AuditAction;
  /** Whether the request is for this route. Needed only if two routes share a path. */
  readonly accepts?: (request: IncomingMessage) => boolean;
  readonly authentication: Authentication<Caller>;
  /** Schema of a JSON body, or of a GET's query. Absent if neither is read, or if `read` reads the body. */
  readonly schema?: z.ZodType<Body>;
  /** Maximum size of a JSON body, bytes. */
  readonly limit?: number;
  /**
   * Reads a body that is not JSON.
   * @throws MeshpassError
   */
  readonly read?: (request: IncomingMessage) => Promise<Body>;
  /** Returns the members of the audit event that come from the body. They are recorded even if the handler throws. */
  auditMembers?(body: Body): Pick<AuditEvent, 'target' | 'detail'>;
  /**
   * Builds the response for a refusal. Defaults to JSON.
   * @param decisionId absent if no audit row was written
   */
  readonly refusal?: (
    error: MeshpassError,
    decisionId: string | undefined,
    request: IncomingMessage,
  ) => Promise<Response>;
  /** Whether the status for an invalid DPoP proof is 400 instead of 401 (RFC 9449 section 5). */
  readonly atTokenEndpoint?: boolean;
  /**
   * Makes the decision and records what it allows (recordAllowed). Allowed reads do not write an audit row. A thrown
   * error is a refusal.
   * @returns a value to serialize as JSON, a Response, or undefined for status 204
   */
  handler(call: Call<Caller, Body>): Promise<unknown>;
}

/** Request whose body has not been read yet. */
export interface Presented {
  readonly request: IncomingMessage;
  readonly event: AuditEvent;
  /** Path of the request. */
  readonly path: string;
}

/** Identifies the caller, and adds the identity to the audit event. A thrown error is a refusal. */
export interface Authentication<Caller> {
  (presented: Presented): Caller | Promise<Caller>;
  /**
   * Checks the caller again once the body has arrived, because the session may have ended while the client delayed the
   * body. A thrown error is a refusal.
   */
  still?(caller: Caller): Caller;
}

/** Authenticated request with its body. */
export interface Call<Caller, Body> {
  readonly caller: Caller;
  /** Body of the request, or the query of a GET. */
  readonly body: Body;
  readonly event: AuditEvent;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Path parameters. */
  readonly params: Readonly<Record<string, string>>;
}

export interface RouteContext {
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  readonly sourceOf: SourceOf;
  readonly log: Logger;
}

/** Defines a route, and infers the types of caller and body that the handler receives. */
export function route<Caller, Body>(one: Route<Caller, Body>): Route {
  return one;
}

/** Mounts routes on an app, with authentication, audit and refusals. */
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
  // Headers are verified before the body is awaited, so that a stranger's body is read only if the body itself is the
  // proof.
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
    : jsonResponse(JSON.stringify(value));
}

/**
 * Builds a JSON response that must not be cached.
 * @param text body, already serialized as JSON
 */
function jsonResponse(text: string): Response {
  return new Response(text, { headers: NO_STORE });
}
