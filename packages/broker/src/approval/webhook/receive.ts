/**
 * Answers that a webhook gives in somebody's name: signed by a secret that only it has, fresh, and taken once. The access file says for
 * which issuer it may speak; who is named is then held against `by` of the grant as anybody is.
 */
import type { Access, ApprovalWebhook } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import {
  type AnswerOrder,
  ApprovalId,
  ApprovalReason,
  ApprovalSeconds,
  type ReviewOrder,
} from '@meshpass/identity/approval';
import { sha256Hex } from '@meshpass/identity/hash';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { hasDuplicateMember } from '../../attest/duplicate-members.ts';
import { parseGithub } from '../../attest/github/api.ts';
import { subjectOf } from '../../attest/oidc/person.ts';
import { seconds, timestamp } from '../../clock/clock.ts';
import type { ReadGithub } from '../../github/reader.ts';
import type { Parts } from '../parts.ts';
import type { SignedHeaders, WebhookKeys } from './keys.ts';

/** An id is remembered for longer than its timestamp is taken. */
const REMEMBERED_SECONDS = 900;

const shared = {
  request: ApprovalId,
  by: z.strictObject({ subject: z.string().min(1).max(255).refine(isPlainText, 'has control characters') }),
};
export const WebhookAnswer = z.discriminatedUnion('decision', [
  z.strictObject({
    ...{ ...shared, decision: z.enum(['approve', 'deny']) },
    ...{ seconds: ApprovalSeconds.optional(), reason: ApprovalReason.optional() },
  }),
  /** Of what was taken in an emergency. */
  z.strictObject({ ...shared, decision: z.enum(['accept', 'object']), reason: ApprovalReason }),
]);

export interface Received {
  readonly attestation: Attestation;
  readonly via: string;
  readonly order: { readonly answer: AnswerOrder } | { readonly review: ReviewOrder };
  /** So that it is taken once. */
  readonly replay: { readonly key: string; readonly expiresAt: string };
}

export interface ReceiveContext extends Pick<Parts, 'mesh' | 'read' | 'clock'> {
  readonly keys: WebhookKeys;
}

/**
 * @param name from the path
 * @throws MeshpassError `approval_webhook_unauthorized`, `request_malformed`, `issuer_unavailable`, `issuer_rate_limited`
 */
export async function receive(
  context: ReceiveContext,
  name: string,
  headers: SignedHeaders,
  body: string,
): Promise<Received> {
  const access = context.mesh.access();
  const webhook = access.webhooks?.find((one) => one.name === name);
  if (!webhook || !verifies(context, webhook, headers, body)) throw unauthorized();
  const answer = WebhookAnswer.safeParse(parse(body));
  if (!answer.success) {
    const [issue] = answer.error.issues;
    throw new MeshpassError(
      'request_malformed',
      `The body is invalid at ${issue?.path.join('.') || 'the top level'}: ${issue?.message}.`,
    );
  }
  const { by } = answer.data;
  return {
    attestation: await attest(context, access, webhook, by.subject, body),
    via: `webhook ${name}`,
    order: orderOf(answer.data),
    replay: {
      key: sha256Hex(`approval webhook ${name} ${headers['webhook-id']}`),
      expiresAt: timestamp(seconds(context.clock) + REMEMBERED_SECONDS),
    },
  };
}

function orderOf(answer: z.output<typeof WebhookAnswer>): Received['order'] {
  const { request: id, by: _, ...rest } = answer;
  // Told apart by the decision, which the type of what is left out does not keep.
  return rest.decision === 'accept' || rest.decision === 'object'
    ? { review: { id, decision: rest.decision, reason: rest.reason ?? '' } }
    : { answer: { id, ...rest, decision: rest.decision } };
}

/** What cannot be verified is not told apart from what is wrong. */
function verifies({ keys }: ReceiveContext, { name }: ApprovalWebhook, headers: SignedHeaders, body: string): boolean {
  try {
    // The library would read a number at the beginning of anything.
    const isForm =
      /^[\x21-\x7e]{1,255}$/.test(headers['webhook-id']) && /^[1-9]\d{9,11}$/.test(headers['webhook-timestamp']);
    return isForm && keys.verifies(name, headers, body);
  } catch (thrown) {
    throw new MeshpassError('approval_webhook_unauthorized', unauthorized().message, { cause: thrown });
  }
}

async function attest(
  { read }: ReceiveContext,
  access: Access,
  { name, speaksFor }: ApprovalWebhook,
  subject: string,
  body: string,
): Promise<Attestation> {
  const workspace = { kind: 'other', key: `webhook:${name}`, name: `webhook ${name}` } as const;
  const shared = { teams: [], workspace, proofHash: sha256Hex(body) };
  if (speaksFor === 'github') {
    if (!/^[1-9][0-9]{0,15}$/.test(subject))
      throw new MeshpassError(
        'request_malformed',
        'The subject must be the id of a GitHub user: gh api users/LOGIN --jq .id',
      );
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
    ...{ attestor: 'oidc', issuer: issuer.name, subject: subjectOf(issuer.name, subject), login: subject },
    claims: { iss: issuer.issuer, sub: subject },
  };
}

const Account = z.object({ id: z.number().int(), login: z.string().min(1).max(100) });

/** Teams are asked about by login; GitHub says which one this account has now. */
async function loginOf(read: ReadGithub | undefined, access: Access, id: number): Promise<string> {
  const organization = access.trust.codespaces?.organization;
  const answer = organization === undefined ? undefined : await read?.(organization, `/user/${id}`);
  const found = answer && parseGithub(Account, answer);
  return found?.id === id ? found.login : `#${id}`;
}

/** @returns undefined where it is no JSON, or where its readers could differ */
function parse(body: string): unknown {
  try {
    const json: unknown = JSON.parse(body);
    return hasDuplicateMember(body, json) ? undefined : json;
  } catch {
    return undefined;
  }
}

function unauthorized(): MeshpassError {
  return new MeshpassError(
    'approval_webhook_unauthorized',
    'No webhook of the access file has signed this in the last five minutes.',
  );
}
