/**
 * Manages the secrets shared with webhooks. A mounted directory contains one file per webhook, named after it, with one
 * secret per line (`whsec_...`, as defined by Standard Webhooks). The first secret signs messages, and every secret can
 * verify them. To rotate a secret, insert the new one as the first line, configure the receiver, and then remove the
 * old line.
 */
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { Webhook } from 'standardwebhooks';
import { z } from 'zod';
import { readPrivateFile } from '../../../base/index.ts';

/** A secret of 24 to 64 bytes, encoded as specified by Standard Webhooks. */
const SECRET = /^whsec_([A-Za-z0-9+/]{32,88}={0,2})$/;
const MOST_SECRETS = 10;

/** The headers of a signed message. The library itself accepts any timestamp that starts with digits. */
export const SignedHeaders = z.object({
  'webhook-id': z.string().regex(/^[\x21-\x7e]{1,255}$/),
  'webhook-timestamp': z.string().regex(/^[1-9]\d{9,11}$/),
  'webhook-signature': z.string().max(2_048),
});
export type SignedHeaders = z.infer<typeof SignedHeaders>;

/** Signs messages to webhooks and verifies messages from them. */
export type WebhookKeys = ReturnType<typeof createWebhookKeys>;

/**
 * Creates the signer and verifier for webhook messages.
 * @param directory the directory with the secrets. It is read for every message, so secrets can be replaced at any
 *   time. Absent if there are no webhooks
 */
export function createWebhookKeys(directory: string | undefined) {
  const secretsOf = (webhook: string): readonly Webhook[] => {
    if (directory === undefined) throw unusable(webhook, 'start the broker with --approval-webhook-keys');
    let text: string;
    try {
      text = readPrivateFile(join(directory, webhook));
    } catch (cause) {
      throw cause instanceof MeshpassError ? cause : unusable(webhook, 'its file is not readable', cause);
    }
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    if (lines.length === 0 || lines.length > MOST_SECRETS)
      throw unusable(webhook, 'its file must contain 1 to 10 secrets');
    return lines.map((line) => {
      if (!SECRET.test(line.trim()))
        throw unusable(webhook, 'a line of its file is not a valid secret (whsec_ and base64)');
      return new Webhook(line.trim());
    });
  };
  return {
    /**
     * Signs a message with the webhook's first secret.
     * @throws MeshpassError `config_invalid` if there are no usable secrets
     */
    sign: (webhook: string, id: string, at: Date, body: string) => ({
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
      'webhook-signature': secretsOf(webhook)[0]!.sign(id, at, body),
    }),
    /**
     * Whether the message was signed with one of the webhook's secrets, and its timestamp is within five minutes of the
     * current time.
     * @throws MeshpassError `config_invalid`
     */
    verifies: (webhook: string, headers: SignedHeaders, body: string) =>
      secretsOf(webhook).some((secret) => {
        try {
          secret.verify(body, { ...headers });
          return true;
        } catch {
          return false;
        }
      }),
  };
}

function unusable(webhook: string, why: string, cause?: unknown): MeshpassError {
  return new MeshpassError('config_invalid', `Webhook ${webhook} has no usable secrets: ${why}.`, { cause });
}
