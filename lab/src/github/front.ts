/** Common handling of every request before and after the endpoint: caller, budget, version, ETag, request id. */
import { createHash, type KeyObject, randomBytes } from 'node:crypto';
import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { createApi } from './api.ts';
import type { ApiEnv, ApiOptions } from './api-options.ts';
import { type Budgets, budgetHeaders } from './budget.ts';
import { budgetKey, identifyCaller } from './caller.ts';
import { applyFault, type Fault } from './fault.ts';
import { notFound, refusal } from './refusal.ts';

export interface FrontOptions extends ApiOptions {
  readonly appKey: KeyObject;
  readonly budgets: Budgets;
  readonly fault: () => Fault;
  /** Told of each call before it is answered: method and path. */
  readonly called: (call: string) => void;
}

const API_VERSIONS = ['2022-11-28', '2026-03-10'];
/** Header that identifies this as a stand-in for GitHub. */
const SERVER = 'meshpass-lab-github-stand-in';

export function createFront(options: FrontOptions): Hono<ApiEnv> {
  const { state, appKey, budgets, now } = options;
  const front = new Hono<ApiEnv>();

  front.use(async (c, next) => {
    options.called(`${c.req.method} ${c.req.path}`);
    await next();
    c.header('server', SERVER);
    c.header('x-github-request-id', requestId());
    c.header('x-github-media-type', 'github.v3; format=json');
  });
  front.use(applyFault(options.fault));

  front.use(async (c, next) => {
    if (!c.req.header('user-agent')) {
      return c.text(
        'Request forbidden by administrative rules. Please make sure your request has a User-Agent header',
        403,
      );
    }
    const version = c.req.header('x-github-api-version') ?? API_VERSIONS[0]!;
    if (!API_VERSIONS.includes(version)) throw refusal(400, `${version} is not a supported version of the GitHub API.`);
    c.header('x-github-api-version-selected', version);

    const address = (c.env as HttpBindings).incoming.socket.remoteAddress ?? '';
    const caller = await identifyCaller(c.req.header('authorization'), state(), appKey, now());
    const key = budgetKey(caller, address);
    const budget = budgets.spend(key, c.req.path === '/rate_limit' ? 0 : 1, now());
    c.set('caller', caller);
    c.set('budget', budget);
    for (const [name, value] of Object.entries(budgetHeaders(budget))) c.header(name, value);
    if (budget.over) {
      throw refusal(403, 'API rate limit exceeded.', '/using-the-rest-api/rate-limits-for-the-rest-api', {
        ...budgetHeaders(budget),
      });
    }
    await next();

    if (c.req.method !== 'GET' || c.res.status !== 200) return;
    const text = await c.res.clone().text();
    const etag = `W/"${createHash('sha256').update(text).digest('hex')}"`;
    c.header('etag', etag);
    c.header(
      'cache-control',
      caller.kind === 'nobody' ? 'public, max-age=60, s-maxage=60' : 'private, max-age=60, s-maxage=60',
    );
    c.header('vary', 'Accept, Authorization, Cookie, X-GitHub-OTP');
    if (c.req.header('if-none-match')?.split(/, */).includes(etag) && caller.kind !== 'nobody') {
      // Unchanged answers are free (docs: conditional requests).
      const refunded = budgets.spend(key, -1, now());
      const headers = new Headers(c.res.headers);
      for (const [name, value] of Object.entries(budgetHeaders(refunded))) headers.set(name, value);
      headers.delete('content-type');
      // Hono would lay the headers of the answer before over these.
      c.res = undefined;
      c.res = new Response(null, { status: 304, headers });
    }
  });

  front.route('/', createApi(options));
  front.notFound(() => notFound().getResponse());
  front.onError((error, c) => {
    const response = error instanceof HTTPException ? error.getResponse() : refusal(500, 'Server Error').getResponse();
    if (!(error instanceof HTTPException)) console.error('GitHub stand-in:', error);
    const budget = c.get('budget') ?? budgets.spend('address:unknown', 1, now());
    for (const [name, value] of Object.entries(budgetHeaders(budget))) response.headers.set(name, value);
    return response;
  });
  return front;
}

/** In GitHub's form: five groups of hexadecimal digits. */
function requestId(): string {
  const hex = randomBytes(16).toString('hex').toUpperCase();
  return [hex.slice(0, 4), hex.slice(4, 10), hex.slice(10, 18), hex.slice(18, 26), hex.slice(24, 32)].join(':');
}
