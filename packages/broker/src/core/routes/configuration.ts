/**
 * Serves `GET /session/configuration`, which returns a session's Envoy configuration. If there is none yet, the request
 * can wait for it (RFC 7240, `wait`).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import { CONFIGURATION_HEADER } from '@meshpass/identity/channel';
import { type Authentication, createSlots, type Route, refusal, route } from '../../http/index.ts';
import type { ControlChannel } from '../channel/control.ts';
import { type Live, sessionClosedError } from '../session/live.ts';
import type { SessionCaller } from './authenticate.ts';

/** Provides configurations with their signed headers. */
type Configurations = Pick<ControlChannel, 'announced' | 'onConfiguration'>;

/** The maximum time that a request can wait, in seconds. This is shorter than the idle timeouts of common proxies. */
const LONGEST_WAIT = 25;
/**
 * The maximum number of concurrent responses that contain a configuration. A response can be several megabytes, and
 * stays in memory while a slow client reads it.
 */
const MAX_ANSWERS = 1_024;
const ANSWERS_PER_SESSION = 2;
const READ_MS = 30_000;

/** Creates the route `GET /session/configuration`. */
export function configurationRoutes(
  { control }: { readonly control: Configurations },
  session: Authentication<SessionCaller>,
): readonly Route[] {
  const answers = createSlots(MAX_ANSWERS, ANSWERS_PER_SESSION);
  return [
    route({
      at: 'GET /session/configuration',
      action: 'configuration.read',
      authentication: session,
      handler: async ({ caller: { live }, request, response }) => {
        const wait = waitIn(request.headers.prefer);
        let announced = control.announced(live.session);
        if (wait > 0 && !announced) {
          await firstOne(control, live, response, wait);
          if (live.ended) throw sessionClosedError(live.ended.cause);
          announced = control.announced(live.session);
        }
        // This is not recorded as a decision, because all agents of the mesh retry while istiod is unavailable.
        if (!announced) return refusal(unavailableError(), undefined);
        response.once('close', answers.take(live.session.id));
        closeSlowReader(request, response);
        const { buffer, byteOffset, byteLength } = announced.content;
        return new Response(new Uint8Array(buffer, byteOffset, byteLength) as Uint8Array<ArrayBuffer>, {
          headers: {
            ...(wait > 0 && { 'preference-applied': `wait=${wait}` }),
            'content-type': 'application/json',
            'cache-control': 'no-store',
            [CONFIGURATION_HEADER]: announced.statement,
          },
        });
      },
    }),
  ];
}

/** Closes the connection of a client that reads a configuration too slowly. */
export function closeSlowReader(request: IncomingMessage, response: ServerResponse): void {
  const slow = setTimeout(() => request.socket.destroy(), READ_MS).unref();
  response.once('close', () => clearTimeout(slow));
}

/**
 * Resolves when a configuration exists, the wait times out, the session ends or the client disconnects. Only one
 * request per session can wait. A newer request replaces the older one, because the older connection may be broken.
 */
function firstOne(control: Configurations, live: Live, response: ServerResponse, seconds: number): Promise<void> {
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
      if (control.announced(live.session)) end();
    };
    const timer = setTimeout(end, seconds * 1_000).unref();
    const unsubscribe = control.onConfiguration(look);
    signal.addEventListener('abort', end);
    response.once('close', end);
    live.waiting = { look, end };
    // Changes that happened before the subscription are not reported, so check once now.
    if (signal.aborted) end();
    else look();
  });
}

function unavailableError(): MeshpassError {
  const message = 'istiod has not yet responded for all of your grants. Try again.';
  return new MeshpassError('configuration_unavailable', message, { retryAfter: 2 });
}

/** Returns how long the client wants to wait, in seconds (RFC 7240 section 4.3). */
function waitIn(header: string | readonly string[] | undefined): number {
  const [, seconds] = /^wait=([0-9]{1,4})$/.exec(String(header ?? '')) ?? [];
  return Math.min(Number(seconds ?? 0), LONGEST_WAIT);
}
