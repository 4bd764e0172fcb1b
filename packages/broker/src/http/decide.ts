/** From a request to its one audited decision and its answer. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { toMeshpassError } from '@meshpass/identity';
import type { Context } from 'hono';
import type { Logger } from 'pino';
import { type AuditContext, audited, type Commit } from '../audit/log/audited.ts';
import { type Action, type Draft, draftEvent } from '../audit/log/event.ts';
import type { Clock, Random } from '../clock/clock.ts';
import type { SourceOf } from '../limits/source-address.ts';
import { refusal } from './refusal.ts';

export interface Env {
  Bindings: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse };
  Variables: { requestId: string };
}

export interface DecideContext {
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  readonly sourceOf: SourceOf;
  readonly log: Logger;
}

const NO_STORE = { 'content-type': 'application/json', 'cache-control': 'no-store', pragma: 'no-cache' };

export interface DecideOptions {
  readonly atTokenEndpoint?: boolean;
}

/** @param act decides, commits and answers: with what becomes JSON, or a Response */
export async function decide(
  context: DecideContext,
  c: Context<Env>,
  action: Action,
  act: (draft: Draft, commit: Commit, request: IncomingMessage) => Promise<unknown>,
  options: DecideOptions = {},
): Promise<Response> {
  const request = c.env.incoming;
  const origin = { source: context.sourceOf(request), requestId: c.get('requestId') };
  const draft = draftEvent(action, origin, context.clock, context.random);
  try {
    const body = await audited(context.audit, draft, (commit) => act(draft, commit, request));
    if (body instanceof Response) return body;
    return body === undefined
      ? new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
      : new Response(JSON.stringify(body), { headers: NO_STORE });
  } catch (thrown) {
    return refusal(toMeshpassError(thrown), draft.metered ? undefined : draft.id, options.atTokenEndpoint);
  }
}
