/**
 * A route of the HTTP API is a plain object, and every request takes the same way through it: authenticate, read the body, handle,
 * write the refusal if there is one, answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Context, Hono } from 'hono';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { type AuditContext, isWithheld, type Outcome, recordRefusal, refused } from '../audit/log/decision.ts';
import { type Action, type AuditEvent, newEvent } from '../audit/log/event.ts';
import type { Clock, Random } from '../clock/clock.ts';
import type { SourceOf } from '../limits/source-address.ts';
import { readJson } from './body.ts';
import { refusal } from './refusal.ts';

export interface Env {
  Bindings: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse };
  Variables: { requestId: string };
}

export interface Route<Caller = unknown, Body = unknown> {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  /** Of the audit event. */
  readonly action: Action;
  /** For two routes of one path: whether the request is meant for this one. */
  readonly accepts?: (request: IncomingMessage) => boolean;
  readonly authentication: Authentication<Caller>;
  /** Of a JSON body; absent: the request has none, or `read` reads it. */
  readonly schema?: z.ZodType<Body>;
  /** Longest JSON body, in bytes. */
  readonly limit?: number;
  /** Reads a body that is not JSON. @throws MeshpassError */
  readonly read?: (request: IncomingMessage) => Promise<Body>;
  /** What the body adds to the audit event, also where the handler throws. */
  auditMembers?(body: Body): Pick<AuditEvent, 'target' | 'detail'>;
  /** How a refusal is told; absent: as JSON. @param decisionId absent where there is no row of it */
  readonly refusal?: (
    error: MeshpassError,
    decisionId: string | undefined,
    request: IncomingMessage,
  ) => Promise<Response>;
  /** RFC 9449 section 5: a bad DPoP proof is answered 400 here, elsewhere 401. */
  readonly atTokenEndpoint?: boolean;
  /**
   * Decides, and writes what it grants (recordGrant); a read that is granted leaves no row. What it throws is a refusal.
   * @returns a value that becomes JSON, a Response, or undefined for 204; or why it refuses
   */
  handler(call: Call<Caller, Body>): Promise<Outcome<unknown>>;
}

/** What is presented, before anything of the body is read. */
export interface Presented {
  readonly request: IncomingMessage;
  readonly event: AuditEvent;
  /** Of the route. */
  readonly path: string;
}

/** Who calls; the event has it from then on, also where it refuses. What it throws is a refusal. */
export interface Authentication<Caller> {
  (presented: Presented): Outcome<Caller> | Promise<Outcome<Caller>>;
  /**
   * Who that is by now, where it can change: called once the body is there, which its sender may have held back until the session was
   * over. What it throws is a refusal.
   */
  still?(caller: Caller): Caller;
}

export interface Call<Caller, Body> {
  readonly caller: Caller;
  readonly body: Body;
  readonly event: AuditEvent;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: Readonly<Record<string, string>>;
  /** From the path. */
  readonly params: Readonly<Record<string, string>>;
}

export interface RouteContext {
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  readonly sourceOf: SourceOf;
  readonly log: Logger;
}

/** Infers what the authentication and the body give to the handler. */
export function route<Caller, Body>(one: Route<Caller, Body>): Route {
  return one;
}

export function mount(app: Hono<Env>, context: RouteContext, routes: readonly Route[]): void {
  for (const one of routes)
    app.on(one.method, one.path, (c, next) =>
      one.accepts?.(c.env.incoming) === false ? next() : answer(context, c, one),
    );
}

async function answer(context: RouteContext, c: Context<Env>, one: Route): Promise<Response> {
  const origin = { source: context.sourceOf(c.env.incoming), requestId: c.get('requestId') };
  const event = newEvent(one.action, origin, context.clock, context.random);
  const outcome = await handle(one, c, event);
  if (outcome.granted) return respond(outcome.value);
  const tell = async (error: MeshpassError, decisionId: string | undefined) =>
    (await one.refusal?.(error, decisionId, c.env.incoming)) ?? refusal(error, decisionId, one.atTokenEndpoint);
  if (isWithheld(outcome)) {
    const { code, message, detail, cause } = outcome.error;
    context.log.info({ decision: event.id, action: event.action, code, message, detail, err: cause }, 'withheld');
    return await tell(outcome.error, event.id);
  }
  try {
    const { metered } = await recordRefusal(context.audit, outcome);
    return await tell(outcome.error, metered ? undefined : event.id);
  } catch (thrown) {
    return await tell(toMeshpassError(thrown), event.id);
  }
}

async function handle(one: Route, c: Context<Env>, event: AuditEvent): Promise<Outcome<unknown>> {
  const { incoming: request, outgoing: response } = c.env;
  let known = event;
  try {
    // What the headers prove comes before the body is waited for: nothing of a stranger's body is read.
    const caller = await one.authentication({ request, event, path: one.path });
    if (!caller.granted) return caller;
    known = caller.event;
    const body = await (one.schema ? readJson(request, one.schema, one.limit) : one.read?.(request));
    const { still = (same: unknown) => same } = one.authentication;
    const callerNow = still(caller.value);
    const members = one.auditMembers?.(body);
    known = { ...known, ...members, ...(members?.detail && { detail: { ...known.detail, ...members.detail } }) };
    const { query, params } = { query: c.req.query(), params: c.req.param() as Record<string, string> };
    return await one.handler({ caller: callerNow, body, event: known, request, response, query, params });
  } catch (thrown) {
    return refused(known, thrown);
  }
}

const NO_STORE = { 'content-type': 'application/json', 'cache-control': 'no-store', pragma: 'no-cache' };

function respond(value: unknown): Response {
  if (value instanceof Response) return value;
  return value === undefined
    ? new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
    : jsonResponse(JSON.stringify(value));
}

/** @param text JSON */
export function jsonResponse(text: string): Response {
  return new Response(text, { headers: NO_STORE });
}
