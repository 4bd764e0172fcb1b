/** `GET /session/configuration`: Envoy's configuration of a session, at once or as soon as there is one (RFC 7240, `wait`). */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import { granted, refused } from '../../audit/log/decision.ts';
import { type Live, sessionClosed } from '../../session/live.ts';
import type { Configurations, Configured } from '../../xds/configurations.ts';
import type { SessionCaller } from '../authenticate.ts';
import { refusal } from '../refusal.ts';
import { type Authentication, type Route, route } from '../route.ts';
import { createSlots, type Slots } from '../slots.ts';

export interface ConfigurationRoutesContext {
  /** Absent: this broker has no istiod to ask. */
  readonly configurations: Configurations | undefined;
}

/** Seconds; less than what proxies take for a dead connection. */
const LONGEST_WAIT = 25;
/** Answers with a configuration that are being sent: one may have megabytes, and who reads slowly holds them. */
const MAX_ANSWERS = 1_024;
const ANSWERS_PER_SESSION = 2;
const READ_MS = 30_000;

export function configurationRoutes(
  { configurations }: ConfigurationRoutesContext,
  session: Authentication<SessionCaller>,
): readonly Route[] {
  const answers = createSlots(MAX_ANSWERS, ANSWERS_PER_SESSION);
  return [
    route({
      method: 'GET',
      path: '/session/configuration',
      action: 'configuration.read',
      authentication: session,
      handler: async ({ caller: { live }, event, request, response }) => {
        if (!configurations) return granted(event, unavailable());
        const known = versionIn(request.headers['if-none-match']);
        const wait = waitIn(request.headers.prefer);
        let configured = await configurations.above(live.session, known ?? 0);
        if (wait > 0 && !configured) {
          await firstOne({ configurations, live, response, seconds: wait });
          if (live.ended) return refused(event, sessionClosed(live.ended.cause));
          configured = await configurations.above(live.session, known ?? 0);
        }
        // No decision: as long as istiod does not answer, every agent of the mesh comes again and again.
        if (!configured) return granted(event, unavailable());
        const applied: Record<string, string> = wait > 0 ? { 'preference-applied': `wait=${wait}` } : {};
        const headers = { etag: `"${configured.version}"`, 'cache-control': 'no-store', ...applied };
        if (configured.version === known) return granted(event, new Response(null, { status: 304, headers }));
        return granted(event, send(answers, live, request, response, configured, headers));
      },
    }),
  ];
}

/** @throws MeshpassError `overloaded` */
function send(
  answers: Slots,
  live: Live,
  request: IncomingMessage,
  response: ServerResponse,
  { body }: Configured,
  headers: Record<string, string>,
): Response {
  const leave = answers.take(live.session.id);
  limitReading(request, response);
  response.once('close', leave);
  return new Response(new Uint8Array(body.buffer, body.byteOffset, body.byteLength) as Uint8Array<ArrayBuffer>, {
    headers: { ...headers, 'content-type': 'application/json' },
  });
}

/** Whoever reads an answer with a configuration too slowly loses the connection. */
export function limitReading(request: IncomingMessage, response: ServerResponse): void {
  const slow = setTimeout(() => request.socket.destroy(), READ_MS).unref();
  response.once('close', () => clearTimeout(slow));
}

interface Waiter {
  readonly configurations: Configurations;
  readonly live: Live;
  readonly response: ServerResponse;
  readonly seconds: number;
}

/**
 * Resolves when there is a configuration, when the time is over, and when nobody waits any more. Of each session one request
 * waits: a newer one takes its place, because the older may be on a connection that is gone.
 */
function firstOne({ configurations, live, response, seconds }: Waiter): Promise<void> {
  const { signal } = live.abort;
  live.waiting?.end();
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener('abort', end);
      response.off('close', end);
      if (live.waiting?.end === end) live.waiting = undefined;
      resolve();
    };
    const look = () => {
      if (configurations.current(live.session)) end();
    };
    const timer = setTimeout(end, seconds * 1_000).unref();
    const unsubscribe = configurations.onChange((key) => {
      if (key === configurations.keyOf(live.session)) look();
    });
    signal.addEventListener('abort', end);
    response.once('close', end);
    live.waiting = { look, end };
    // What came while it was not listened for is not told again.
    if (signal.aborted) end();
    else look();
  });
}

function unavailable(): Response {
  return refusal(
    new MeshpassError('configuration_unavailable', 'istiod has not answered yet for all of your grants; try again.', {
      retryAfter: 2,
    }),
    undefined,
  );
}

/** RFC 9110 section 13.1.2, as far as this broker gives out ETags. */
function versionIn(header: string | undefined): number | undefined {
  const [, version] = /^"([1-9][0-9]{0,15})"$/.exec(header ?? '') ?? [];
  return version === undefined ? undefined : Number(version);
}

/** Seconds (RFC 7240 section 4.3). */
function waitIn(header: string | readonly string[] | undefined): number {
  const [, seconds] = /^wait=([0-9]{1,4})$/.exec(String(header ?? '')) ?? [];
  return Math.min(Number(seconds ?? 0), LONGEST_WAIT);
}
