/**
 * Refuses requests while the broker cannot prove that it is active, including requests already in progress. Requests
 * that only revoke access are still processed, but their clients also get the refusal unless the broker is known to be
 * active by then.
 */
import type { MiddlewareHandler } from 'hono';
import { leadershipUnknownError } from '../store/index.ts';
import { refusal } from './refusal.ts';
import type { Env } from './route.ts';

/**
 * Creates the middleware that refuses requests while the broker may not be active.
 * @param isLeader returns whether this process is currently known to be the active broker
 */
export function requireLeader(isLeader: () => boolean): MiddlewareHandler<Env> {
  return async (c, next) => {
    const asked = `${c.req.method} ${c.req.path}`;
    if (!isLeader() && !ENDINGS.has(asked)) {
      c.res = refusal(leadershipUnknownError(), undefined);
      c.header('connection', 'close');
      return;
    }
    await next();
    if (isLeader() || c.env.outgoing.headersSent) return;
    c.res = undefined;
    c.res = refusal(leadershipUnknownError(), undefined);
    c.header('connection', 'close');
  };
}

const ENDINGS: ReadonlySet<string> = new Set([
  'DELETE /session',
  'POST /admin/sessions/close',
  'POST /github/audit-stream',
  'POST /services/collector',
  'POST /services/collector/event',
]);
