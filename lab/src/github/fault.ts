/** Faults of the stand-in that a test can set, because the real API may also have them. */
import type { HttpBindings } from '@hono/node-server';
import type { Context, Next } from 'hono';

export type Fault = { /** Only paths that begin so; all without it. */ readonly path?: string } & (
  | { readonly mode: 'none' }
  /** The connection drops without an answer. */
  | { readonly mode: 'down' }
  /** The answer comes, but late. */
  | { readonly mode: 'slow'; readonly delayMs: number }
  /** Headers and half a body, and then nothing more. */
  | { readonly mode: 'stalled' }
  /** Primary limit: 403, budget 0 (docs: rate limits for the REST API). */
  | { readonly mode: 'rate-limited'; readonly resetSeconds?: number }
  /** Secondary limit: 429 with Retry-After. */
  | { readonly mode: 'secondary-limited'; readonly retryAfterSeconds?: number }
  | { readonly mode: 'error'; readonly status: 500 | 502 | 503 }
  /** 200 and a page of HTML, as a captive proxy gives. */
  | { readonly mode: 'html' }
  /** 200 and a JSON body that does not match the description. */
  | { readonly mode: 'garbage' }
  /** 200 and a body without an end. */
  | { readonly mode: 'endless' }
  /** Sends the caller, with its token, to another place. */
  | { readonly mode: 'redirect'; readonly location: string }
);

/** A Hono middleware that applies the fault of the moment. */
export function applyFault(current: () => Fault) {
  return async (c: Context<{ Bindings: HttpBindings }>, next: Next): Promise<Response | undefined> => {
    const fault = current();
    if (fault.mode === 'none' || !c.req.path.startsWith(fault.path ?? '/')) return void (await next());
    const { incoming } = c.env;
    switch (fault.mode) {
      case 'down':
        incoming.socket.destroy();
        return new Response(null);
      case 'slow':
        await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
        return void (await next());
      case 'stalled':
        return new Response(bodyOf('{"login": "al', false), { headers: { 'content-type': 'application/json' } });
      case 'endless':
        return new Response(bodyOf(`{"login": "${'a'.repeat(65536)}`, true), {
          headers: { 'content-type': 'application/json' },
        });
      case 'rate-limited': {
        const reset = Math.floor(Date.now() / 1000) + (fault.resetSeconds ?? 600);
        return c.json(
          {
            message: 'API rate limit exceeded for user ID 583231.',
            documentation_url: 'https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api',
            status: '403',
          },
          403,
          {
            'x-ratelimit-limit': '5000',
            'x-ratelimit-remaining': '0',
            'x-ratelimit-used': '5000',
            'x-ratelimit-reset': String(reset),
            'x-ratelimit-resource': 'core',
          },
        );
      }
      case 'secondary-limited':
        return c.json(
          {
            message: 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.',
            documentation_url:
              'https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits',
            status: '429',
          },
          429,
          { 'retry-after': String(fault.retryAfterSeconds ?? 60) },
        );
      case 'error':
        return c.json({ message: 'Server Error', documentation_url: 'https://docs.github.com/rest' }, fault.status);
      case 'html':
        return c.html('<!doctype html><title>Sign in to the network</title>');
      case 'garbage':
        return c.json({ login: { id: 'alice' }, id: '583231', state: 1, owner: [] });
      case 'redirect':
        return c.redirect(fault.location, 302);
    }
  };
}

function bodyOf(text: string, again: boolean): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let sent = false;
  return new ReadableStream({
    async pull(controller) {
      if (!sent || again) controller.enqueue(bytes);
      else await new Promise(() => {});
      sent = true;
    },
  });
}
