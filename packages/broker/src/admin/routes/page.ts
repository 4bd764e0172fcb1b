/** Routes of the broker's web page, where people read and answer approval requests (docs/access/page.md). */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import {
  type ApprovalAnswerBody,
  ApprovalId,
  type ApprovalReviewBody,
  ApprovalSeconds,
} from '@meshpass/identity/approval';
import { z } from 'zod';
import { annotateEvent } from '../../audit/index.ts';
import { equalInConstantTime } from '../../base/index.ts';
import { readBody, readInput } from '../../http/index.ts';
import { unknown } from '../approval/request.ts';
import { may, nameOf, type OperatorCaller } from '../operator/caller.ts';
import { signOut } from '../operator/end-sessions.ts';
import { type AuthorizedRoute, operatorRoutes, Reason } from '../operator/operator-route.ts';
import { csrfToken, readCookie, SESSION_COOKIE, serializeCookie } from '../operator/page/cookies.ts';
import {
  renderRefusalPage,
  renderRequestList,
  renderRequestPage,
  type SignedInOperator,
} from '../operator/page/html.ts';
import { LIST, type PageContext, renderSignInRefusal, SIGN_IN_PATH, seeOther } from './page-sign-in.ts';

const noReason = z.literal('').transform(() => undefined);
/** The form for answering or reviewing a request. */
const AnswerForm = z.discriminatedUnion('decision', [
  z.strictObject({
    decision: z.literal('approve'),
    minutes: z
      .string()
      .regex(/^[1-9][0-9]{0,2}$/, 'must be a number of minutes')
      .transform((minutes) => Number(minutes) * 60)
      .pipe(ApprovalSeconds),
    reason: noReason.or(Reason),
  }),
  z.strictObject({ decision: z.literal('deny'), reason: Reason }),
  z.strictObject({ decision: z.enum(['accept', 'object']), reason: Reason }),
]);
type AnswerForm = z.output<typeof AnswerForm>;
const ACTION_OF = {
  approve: 'approvals.approve',
  deny: 'approvals.deny',
  accept: 'approvals.review',
  object: 'approvals.review',
} as const;
const NoFields = z.strictObject({});

/**
 * Rejects form submissions while the issuer's confirmation is overdue. The browser keeps the user's input, so it can be
 * resubmitted.
 */
const toConfirm = (error: MeshpassError, decision: string | undefined, request: IncomingMessage) => {
  if (error.code !== 'operator_unconfirmed') return toList(error, decision);
  const href = /^\/approvals\/[0-9a-f]{24}$/.exec(request.url ?? '')?.[0] ?? LIST;
  const then = 'in a new tab, then reload this page. Your browser sends the form again.';
  return renderRefusalPage(error, decision, { href, text: 'Confirm your sign-in', then });
};
const toList = (error: MeshpassError, decision: string | undefined) =>
  error.status === 401
    ? renderSignInRefusal(error, decision)
    : renderRefusalPage(error, decision, { href: LIST, text: 'All requests' });

/** Returns `GET /approvals`, `GET` and `POST /approvals/ID` and `POST /page/sign-out`. */
export function pageRoutes(context: PageContext): readonly AuthorizedRoute[] {
  const { approvals, origin, operators } = context;
  const on = operatorRoutes(operators.pageAuthentication);
  return [
    on(
      `GET ${LIST}`,
      { does: 'approvals.list', action: 'approval.list', refusal: renderSignInRefusal },
      async ({ caller, request }) => await renderRequestList(visitorOf(caller, request), await approvals.list()),
    ),
    on(
      `GET ${LIST}/:id`,
      { does: 'approvals.show', action: 'approval.list', refusal: toList },
      async ({ caller, request, params: { id = '' }, event }) => {
        const [found] = ApprovalId.safeParse(id).success ? await approvals.list(id) : [];
        annotateEvent(event, { target: id });
        if (!found) throw unknown(id.slice(0, 24));
        const does = found.emergency ? 'approvals.review' : 'approvals.approve';
        const token = may(caller, does) ? tokenOf(request, `${LIST}/${id}`) : undefined;
        return await renderRequestPage(visitorOf(caller, request), found, token);
      },
    ),
    on<AnswerForm>(
      `POST ${LIST}/:id`,
      {
        does: ({ decision }) => ACTION_OF[decision],
        action: 'approval.answer',
        refusal: toConfirm,
        read: formReader(origin, AnswerForm),
      },
      async ({ caller, params: { id = '' }, body, event }) => {
        if (!ApprovalId.safeParse(id).success) throw unknown(id.slice(0, 24));
        const reviews = body.decision === 'accept' || body.decision === 'object';
        if (reviews) annotateEvent(event, { action: 'approval.review' });
        await approvals.answer({ attestation: caller.attestation!, via: 'page' }, orderOf(id, body), event);
        return seeOther(`${LIST}/${id}`);
      },
    ),
    on(
      'POST /page/sign-out',
      {
        does: 'operators.logout',
        action: 'operator.sign-out',
        refusal: renderSignInRefusal,
        read: formReader(origin, NoFields),
      },
      async ({ caller, event }) => {
        await signOut(context, caller, event);
        return seeOther(SIGN_IN_PATH, serializeCookie(SESSION_COOKIE, '', 0));
      },
    ),
  ];
}

function orderOf(id: string, body: AnswerForm): ApprovalAnswerBody | ApprovalReviewBody {
  if (body.decision !== 'approve') return { id, ...body };
  const { decision, minutes: seconds, reason } = body;
  return { id, decision, seconds, ...(reason !== undefined && { reason }) };
}

function visitorOf(caller: OperatorCaller, request: IncomingMessage): SignedInOperator {
  return { name: nameOf(caller), signOut: tokenOf(request, '/page/sign-out') };
}

function tokenOf(request: IncomingMessage, path: string): string {
  return csrfToken(readCookie(request, SESSION_COOKIE) ?? '', path);
}

// Forms on the broker's web page, which are only accepted from the page's own origin.

/** The maximum size of a submitted form, in bytes. */
const MOST = 4 * 1024;

/**
 * Creates a function that reads forms. Forms are only accepted if they were submitted from the page's own origin.
 * @param origin the origin of the page
 * @returns a function that reads a form, and throws MeshpassError `operator_form_forged`, `request_malformed`,
 *   `request_too_large`, `request_timeout`
 */
function formReader<T>(origin: string, schema: z.ZodType<T>): (request: IncomingMessage) => Promise<T> {
  return async (request) => {
    const { origin: from, 'sec-fetch-site': site = 'same-origin', 'content-type': type } = request.headers;
    // Every browser sends the Origin header when submitting a form. Fetch Metadata is newer and may be absent.
    if (from !== origin || site !== 'same-origin') throw forged();
    if (type?.split(';')[0]?.trim().toLowerCase() !== 'application/x-www-form-urlencoded')
      throw new MeshpassError('request_malformed', 'The content type must be application/x-www-form-urlencoded.');
    const fields = new URLSearchParams(await readBody(request, MOST));
    const { form = '', ...members } = Object.fromEntries(fields);
    if (fields.size !== new Set(fields.keys()).size)
      throw new MeshpassError('request_malformed', 'The form contains a duplicate field.');
    const token = csrfToken(readCookie(request, SESSION_COOKIE) ?? '', new URL(request.url ?? '/', origin).pathname);
    if (!equalInConstantTime(form, token)) throw forged();
    return readInput(members, schema, 'form');
  };
}

function forged(): MeshpassError {
  return new MeshpassError(
    'operator_form_forged',
    "This form was not sent from this broker's page in your session. Open the request again.",
  );
}
