/** Answers of webhooks. docs/access/webhooks.md is their prose. */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import type { Approvals } from '../../approval/approvals.ts';
import { granted, refused } from '../../audit/log/decision.ts';
import { createRateAllowance } from '../../limits/rate-allowance.ts';
import { groupOf } from '../../limits/source-address.ts';
import { readBody } from '../body.ts';
import { type Route, route } from '../route.ts';

const MOST = 8 * 1024;
/** Messages of a source that are looked at, at once and a second after that: whoever comes has shown nothing yet. */
const ATTEMPTS = { burst: 30, perSecond: 1 };

/** `POST /approvals/answers/NAME`. */
export function approvalWebhookRoutes(approvals: Approvals, clock: () => number): readonly Route[] {
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  return [
    route({
      method: 'POST',
      path: '/approvals/answers/:name',
      action: 'approval.answer',
      authentication: ({ event }) =>
        attempts.take(groupOf(event.source ?? 'unknown'))
          ? granted(event, undefined)
          : refused(
              event,
              new MeshpassError('too_many_attempts', 'Too many messages from this address; wait.', { retryAfter: 5 }),
            ),
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
