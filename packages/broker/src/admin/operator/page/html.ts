/** Renders the page as plain HTML without scripts. The template escapes all external text. */
import { createHash } from 'node:crypto';
import type { MeshpassError } from '@meshpass/identity';
import type { ApprovalRequest, EmergencyReview } from '@meshpass/identity/approval';
import { html, raw } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import { needsReview } from '../../approval/request.ts';

type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

const STYLE = `
:root{background:Canvas;color:CanvasText;color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
a{color:LinkText}
body{margin:0 auto;max-width:46rem;padding:1rem}
header{display:flex;flex-wrap:wrap;gap:.5rem 1rem;justify-content:space-between;align-items:center;border-bottom:1px solid #8886;padding-bottom:.75rem}
h1{font-size:1.5rem;margin:1.25rem 0 .75rem}
h2{font-size:1.1rem;margin:1.5rem 0 .5rem}
a,bdi,li,dd,p,code{overflow-wrap:anywhere}
ul.requests{list-style:none;margin:0;padding:0}
.requests li{border:1px solid #8886;border-radius:.5rem;margin:.6rem 0;padding:.6rem .9rem}
.requests p{margin:.15rem 0}
.requests a{font-weight:600}
.state{border:1px solid;border-radius:1rem;float:right;font-size:.85rem;margin-left:.6rem;padding:0 .6rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1.25rem;margin:0}
dt{font-weight:600}
dd{margin:0;min-width:0}
dd ul{margin:0;padding-left:1.1rem}
main form{border:1px solid #8886;border-radius:.5rem;margin:1rem 0;padding:0 1rem 1rem}
label{display:block;margin:.5rem 0 .8rem}
input,button{font:inherit;padding:.35rem .6rem;border:1px solid #888;border-radius:.35rem}
input[name=reason]{box-sizing:border-box;display:block;width:100%}
input[name=minutes]{display:block;width:8rem}
button{cursor:pointer;padding:.35rem 1.1rem}
button[name=decision]{border-color:transparent;color:#fff;font-weight:600}
button[value=approve]{background:#1a7f37}
button[value=deny]{background:#b42318}
:focus-visible{outline:3px solid #4493f8;outline-offset:2px}
@media(max-width:30rem){dl{display:block}dt{margin-top:.5rem}}
`;

/**
 * The content security policy, which only allows this style sheet (by its hash) and forms that submit to this origin.
 */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  ...["form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"],
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': POLICY,
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // With `no-referrer`, browsers would submit forms with a null origin.
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

/** The signed-in operator, as shown in the page header. */
export interface SignedInOperator {
  readonly name: string;
  /** The CSRF token for the sign-out form. */
  readonly signOut: string;
}

/** Renders the page where operators choose an issuer. */
export async function renderSignInPage(issuers: readonly string[], request: string | undefined): Promise<Response> {
  const query = request === undefined ? '' : `?request=${request}`;
  const links = issuers.map((name) => html`<li><a href="/page/sign-in/${name}${query}">Sign in with ${name}</a></li>`);
  const none = html`<p>Operators cannot sign in: the access file has no <code>operators</code>, or no issuer with <code>signIn</code>.</p>`;
  return await page('Sign in', undefined, links.length === 0 ? none : html`<ul>${links}</ul>`);
}

/** Renders the page that lists approval requests. */
export async function renderRequestList(
  visitor: SignedInOperator,
  requests: readonly ApprovalRequest[],
): Promise<Response> {
  const waiting = requests.filter(({ state }) => state === 'pending');
  const toReview = requests.filter(needsReview);
  const others = requests.filter((one) => one.state !== 'pending' && !needsReview(one)).slice(0, MOST_SETTLED);
  return await page(
    'Approval requests',
    visitor,
    html`<h2>Waiting</h2>${list(waiting)}${
      toReview.length === 0 ? '' : html`<h2>Emergency access to review</h2>${list(toReview)}`
    }<h2>Other requests, newest first</h2>${list(others)}`,
  );
}

const MOST_SETTLED = 100;

function list(requests: readonly ApprovalRequest[]): Html {
  if (requests.length === 0) return html`<p>None.</p>`;
  const items = requests.map(
    ({ id, grant, seconds, state, person: by, reason, asked_at }) => html`<li><span class="state">${state}</span>
<a href="/approvals/${id}">${grant}</a> for ${duration(seconds)}<p>${person(by)}</p>
${reason === undefined ? '' : html`<p>${quoted(reason)}</p>`}<p>Requested ${time(asked_at)}</p></li>`,
  );
  return html`<ul class="requests">${items}</ul>`;
}

/**
 * Renders the page of a single request.
 * @param token the CSRF token for the answer form. Absent if this visitor cannot answer the request
 */
export async function renderRequestPage(
  visitor: SignedInOperator,
  request: ApprovalRequest,
  token: string | undefined,
): Promise<Response> {
  const { id, grant, state, workspace, opens, seconds, reason, asked_at, answer_by, needed, answers, until } = request;
  const row = (name: string, value: unknown) => html`<dt>${name}</dt><dd>${value}</dd>`;
  const ports = (opens ?? []).map(
    ({ host, port, allow }) => html`<li>${host}:${port}${allow === undefined ? '' : ` (${allow.join(', ')})`}</li>`,
  );
  return await page(
    `Request for ${grant}`,
    visitor,
    html`<p><a href="/approvals">All requests</a></p><dl>
${row('Grant', grant)}${row('Requester', person(request.person))}${row('Workspace', html`<bdi>${workspace}</bdi>`)}
${row('Opens', ports.length === 0 ? (opens ? 'currently nothing' : 'not listed here') : html`<ul>${ports}</ul>`)}
${row('For', duration(seconds))}${row('Reason', quoted(reason))}${row('Requested', time(asked_at))}
${row('State', state)}${state === 'pending' ? row('Answer by', time(answer_by)) : ''}
${row('Approvals needed', needed)}${until === undefined ? '' : row('Granted until', time(until))}
${row('Answers', answers.length === 0 ? 'none' : html`<ul>${answers.map(decision)}</ul>`)}
${row('Request', html`<code>${id}</code>`)}</dl>
${request.emergency ? reviewPart(request, request.emergency, token) : ''}
${state === 'pending' ? answerForms(request, token) : ''}`,
  );
}

function reviewPart(request: ApprovalRequest, emergency: EmergencyReview, token: string | undefined): Html {
  const { state, review_by, reviews } = emergency;
  return html`<h2>Taken in an emergency without approval</h2>
<p>Review: ${state}${state === 'open' ? html`, until ${time(review_by)}` : ''}</p><ul>${reviews.map(decision)}</ul>
${needsReview(request) ? reviewForm(request, token) : ''}`;
}

const DONE = { approve: 'approved', deny: 'denied', accept: 'accepted', object: 'objected to' };

function decision(one: ApprovalRequest['answers'][number] | EmergencyReview['reviews'][number]): Html {
  return html`<li>${DONE[one.decision]} by ${person(one)} through ${one.via},
${time(one.at)}${one.reason === undefined ? '' : html`: ${quoted(one.reason)}`}</li>`;
}

function reviewForm({ id, emergency }: ApprovalRequest, token: string | undefined): Html {
  if (token === undefined) return html`<p>Your role cannot review emergencies.</p>`;
  const object = html`<button name="decision" value="object">Not justified: end it</button>`;
  return html`<form method="post" action="/approvals/${id}"><input type="hidden" name="form" value="${token}">
<label>Reason <input name="reason" maxlength="200" autocomplete="off" required></label>
<button name="decision" value="accept">Justified</button> ${emergency?.state === 'objected' ? '' : object}</form>`;
}

function answerForms({ id, seconds }: ApprovalRequest, token: string | undefined): Html {
  if (token === undefined) return html`<p>Your role cannot answer requests.</p>`;
  const action = `/approvals/${id}`;
  const hidden = html`<input type="hidden" name="form" value="${token}">`;
  return html`<form method="post" action="${action}">${hidden}
<h2>Approve</h2><label>For, in minutes <input name="minutes" type="number" min="1" max="720" value="${Math.ceil(seconds / 60)}" required></label>
<label>Reason (optional) <input name="reason" maxlength="200" autocomplete="off"></label>
<button name="decision" value="approve">Approve</button></form>
<form method="post" action="${action}">${hidden}<h2>Deny</h2>
<label>Reason <input name="reason" maxlength="200" autocomplete="off" required></label>
<button name="decision" value="deny">Deny</button></form>`;
}

/** A link that lets the visitor continue after a refusal. */
export interface ContinueLink {
  readonly href: string;
  readonly text: string;
  /** Instructions to show after the link. If present, the link opens in a new tab, so that this tab stays open. */
  readonly then?: string;
}

/** Renders the page that explains why a request was refused. */
export async function renderRefusalPage(
  { status, message, code, retryAfter }: MeshpassError,
  decisionId: string | undefined,
  { href, text, then }: ContinueLink,
): Promise<Response> {
  const decision = decisionId === undefined ? '' : html`, decision <code>${decisionId}</code>`;
  const link =
    then === undefined
      ? html`<a href="${href}">${text}</a>`
      : html`<a href="${href}" target="_blank" rel="noopener">${text}</a>, ${then}`;
  const answer = await page(
    'Refused',
    undefined,
    html`<p>${message}</p><p><code>${code}</code>${decision}</p><p>${link}</p>`,
    status,
  );
  if (retryAfter !== undefined) answer.headers.set('retry-after', String(Math.ceil(retryAfter)));
  if (status === 413 || status === 408) answer.headers.set('connection', 'close');
  return answer;
}

async function page(title: string, visitor: SignedInOperator | undefined, body: Html, status = 200): Promise<Response> {
  const head =
    visitor &&
    html`<header><span>Signed in as <bdi>${visitor.name}</bdi></span><form method="post" action="/page/sign-out">
<input type="hidden" name="form" value="${visitor.signOut}"><button>Sign out</button></form></header>`;
  const text = await html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title} - Meshpass</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>${raw(STYLE)}</style></head>
<body>${head ?? ''}<main><h1>${title}</h1>${body}</main></body></html>`;
  return new Response(text.toString(), { status, headers: HEADERS });
}

/** Isolates external text, so that its writing direction does not affect the surrounding text. */
function quoted(text: string | undefined): Html {
  return text === undefined ? html`-` : html`<bdi>${text}</bdi>`;
}

function person({ login, subject }: { readonly login: string; readonly subject: string }): Html {
  return html`<bdi>${login}</bdi> (<bdi>${subject}</bdi>)`;
}

function time(unix: number): Html {
  const iso = new Date(unix * 1000).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
}

function duration(seconds: number): string {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return [hours && `${hours}h`, minutes && `${minutes}m`, seconds % 60 && `${seconds % 60}s`].filter(Boolean).join(' ');
}
