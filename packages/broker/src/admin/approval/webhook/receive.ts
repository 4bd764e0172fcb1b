/**
 * Verifies the answers that a webhook submits on behalf of people. An answer must be recent and signed with the
 * webhook's secret, and it is accepted only once. For each webhook, the access file specifies an issuer, and the
 * webhook may only answer on behalf of that issuer's users. Each person is then checked against the grant's `by`, like
 * any other approver.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Access, ApprovalWebhook } from '@meshpass/access';
import { type Attestation, isPlainText, MeshpassError, sha256Hex } from '@meshpass/identity';
import { ApprovalAnswerBody, ApprovalId, ApprovalReviewBody } from '@meshpass/identity/approval';
import { z } from 'zod';
import { parseGithubResponse, type ReadGithub } from '../../../attest/index.ts';
import { timestamp, toUnixSeconds } from '../../../base/index.ts';
import { parseJson } from '../../../http/index.ts';
import { subjectOf } from '../../../issuers/index.ts';
import type { ApprovalsContext } from '../parts.ts';
import { SignedHeaders } from './keys.ts';

/** How long message ids are remembered, in seconds. By then, the message's timestamp is no longer accepted. */
const REMEMBERED_SECONDS = 900;

const shared = {
  request: ApprovalId,
  by: z.strictObject({
    subject: z.string().min(1).max(255).refine(isPlainText, 'must not contain control characters'),
  }),
};
/** The body of a webhook's answer to a request, or of its review of an emergency. */
export const WebhookAnswer = z.discriminatedUnion('decision', [
  z.strictObject({ ...shared, ...ApprovalAnswerBody.omit({ id: true }).shape }),
  z.strictObject({ ...shared, ...ApprovalReviewBody.omit({ id: true }).shape }),
]);

/**
 * Verifies a webhook's answer.
 * @param name the name of the webhook, taken from the request path
 * @throws MeshpassError `approval_webhook_unauthorized`, `request_malformed`, `issuer_unavailable`,
 *   `issuer_rate_limited`
 */
export async function receive(context: ApprovalsContext, name: string, headers: IncomingHttpHeaders, body: string) {
  const access = context.mesh.access();
  const webhook = access.webhooks?.find((one) => one.name === name);
  const signed = SignedHeaders.safeParse(headers);
  if (!webhook || !signed.success || !verifies(context, webhook, signed.data, body)) throw unauthorized();
  const { request: id, by, ...order } = parseJson(body, WebhookAnswer);
  return {
    attestation: await attest(context, access, webhook, by.subject, body),
    via: `webhook ${name}`,
    // The cast is needed because TypeScript no longer relates the remaining fields to `decision`.
    order: { id, ...order } as ApprovalAnswerBody | ApprovalReviewBody,
    /** Ensures that the message can only be used once. */
    replay: {
      key: sha256Hex(`approval webhook ${name} ${signed.data['webhook-id']}`),
      expiresAt: timestamp(toUnixSeconds(context.clock) + REMEMBERED_SECONDS),
    },
  };
}

/**
 * Verifies the signature. Messages that cannot be verified are rejected just like messages with an invalid signature.
 */
function verifies(
  { keys }: ApprovalsContext,
  { name }: ApprovalWebhook,
  headers: SignedHeaders,
  body: string,
): boolean {
  try {
    return keys.verifies(name, headers, body);
  } catch (thrown) {
    throw unauthorized(thrown);
  }
}

async function attest(
  { read }: ApprovalsContext,
  access: Access,
  { name, speaksFor }: ApprovalWebhook,
  subject: string,
  body: string,
): Promise<Attestation> {
  const workspace = { kind: 'other', key: `webhook:${name}`, name: `webhook ${name}` } as const;
  const shared = { teams: [], workspace, proofHash: sha256Hex(body) };
  if (speaksFor === 'github') {
    if (!/^[1-9][0-9]{0,15}$/.test(subject))
      throw new MeshpassError('request_malformed', 'The subject must be a GitHub user ID: gh api users/LOGIN --jq .id');
    const id = Number(subject);
    const login = await loginOf(read, access, id);
    const githubUser = { id, login };
    return {
      ...shared,
      attestor: 'github-codespace',
      issuer: 'github',
      subject: `github:${id}`,
      login,
      githubUser,
      claims: {},
    };
  }
  const issuer = access.trust.issuers.find((one) => one.name === speaksFor);
  if (!issuer) throw unauthorized();
  return {
    ...shared,
    attestor: 'oidc',
    issuer: issuer.name,
    subject: subjectOf(issuer.name, subject),
    login: subject,
    claims: { iss: issuer.issuer, aud: issuer.audience, sub: subject },
  };
}

const Account = z.object({ id: z.number().int(), login: z.string().min(1).max(100) });

/** Returns the account's current login, because GitHub's team queries require a login. */
async function loginOf(read: ReadGithub | undefined, access: Access, id: number): Promise<string> {
  const organization = access.trust.codespaces?.organization;
  const answer = organization === undefined ? undefined : await read?.(organization, `/user/${id}`);
  const found = answer && parseGithubResponse(Account, answer);
  return found?.id === id ? found.login : `#${id}`;
}

function unauthorized(cause?: unknown): MeshpassError {
  return new MeshpassError(
    'approval_webhook_unauthorized',
    'This message was not signed by a webhook in the access file within the last five minutes.',
    { cause },
  );
}
