/**
 * A broker that cannot tell whether it is the active one serves nobody: neither who asks then, nor who asked before and is
 * answered then. What only takes access away is heard all the same; it is answered when the store has it.
 */
import type { MiddlewareHandler } from 'hono';
import { leadershipUnknown } from '../store/leader-guard.ts';
import { refusal } from './refusal.ts';
import type { Env } from './route.ts';

/** @param isLeader whether this process is known, at this instant, to be the active broker */
export function requireLeader(isLeader: () => boolean): MiddlewareHandler<Env> {
  return async (c, next) => {
    const asked = `${c.req.method} ${c.req.path}`;
    if (!isLeader() && !ENDINGS.has(asked)) {
      c.res = refusal(leadershipUnknown(), undefined);
      c.header('connection', 'close');
      return;
    }
    await next();
    if (isLeader() || c.env.outgoing.headersSent) return;
    c.res = undefined;
    c.res = refusal(leadershipUnknown(), undefined);
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
