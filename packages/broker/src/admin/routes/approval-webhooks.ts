/** Route for webhook answers (docs/access/webhooks.md). */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import { sourceGroup } from '@meshpass/identity/limits/source';
import { granted } from '../../audit/index.ts';
import { createRateAllowance } from '../../base/index.ts';
import { type Route, readBody, route } from '../../http/index.ts';
import type { Approvals } from '../approval/approvals.ts';

const MOST = 8 * 1024;
/** Unauthenticated messages per source. */
const ATTEMPTS = { burst: 30, perSecond: 1 };

/** Returns `POST /approvals/answers/NAME`. */
export function approvalWebhookRoutes(approvals: Approvals, clock: () => number): readonly Route[] {
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  return [
    route({
      method: 'POST',
      path: '/approvals/answers/:name',
      action: 'approval.answer',
      authentication: ({ event }) => {
        if (attempts.take(sourceGroup(event.source ?? 'unknown'))) return granted(event, undefined);
        throw new MeshpassError(
          'too_many_attempts',
          'Too many messages from this address. Wait before you try again.',
          { retryAfter: 5 },
        );
      },
      read: (request) => readBody(request, MOST),
      handler: async ({ request, params, body, event }) => {
        const headers = {
          'webhook-id': header(request, 'webhook-id'),
          'webhook-timestamp': header(request, 'webhook-timestamp'),
          'webhook-signature': header(request, 'webhook-signature'),
        };
        return await approvals.receive(params.name ?? '', headers, body, event);
      },
    }),
  ];
}

function header({ headers }: IncomingMessage, name: string): string {
  const value = headers[name];
  return typeof value === 'string' ? value.slice(0, 2_048) : '';
}
