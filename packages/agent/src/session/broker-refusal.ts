/** Converts a broker's refusals, and responses that did not come from a broker, to errors. */
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import { tlsFailure } from '@meshpass/identity/tls-failure';
import { PresenceChallenge } from '@meshpass/identity/wire';

export interface Answer {
  readonly status: number;
  readonly isJson: boolean;
  readonly body: string;
  /** The broker's time in milliseconds since the epoch, if the response has a date. */
  readonly date: number | undefined;
  readonly retryAfter: number | undefined;
  /** A configuration's signed header. */
  readonly statement: string | undefined;
}

/** Parses JSON. @throws MeshpassError agent_broker_unreachable, since a broker would have responded with JSON */
export function parseJson(base: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw unreachable(base, 'its response is not JSON', cause);
  }
}

/** Converts a refusal to an error, with the broker's own code if it has one. */
export function refusal(base: string, answer: Answer): MeshpassError {
  const options = answer.retryAfter === undefined ? {} : { retryAfter: answer.retryAfter };
  try {
    const { error_code: code, error_description: message, decision_id: decision, presence } = JSON.parse(answer.body);
    if (isErrorCode(code) && typeof message === 'string') {
      const text = plainText(message.slice(0, 1000));
      const isId = typeof decision === 'string' && /^[A-Za-z0-9_-]{1,64}$/.test(decision);
      const challenge = PresenceChallenge.safeParse(presence);
      return new MeshpassError(code, isId ? `${text} (decision ${decision})` : text, {
        ...options,
        ...(challenge.success && { members: { presence: challenge.data } }),
      });
    }
  } catch {
    // Not a broker response: handled below.
  }
  return unreachable(base, `it responded with ${answer.status}`, undefined, options);
}

/** Creates the error for an unreachable broker, or for a response that no broker would send. */
export function unreachable(base: string, why: string, cause: unknown, options: { readonly retryAfter?: number } = {}) {
  const { what, next } = tlsFailure(cause) ?? {
    what: why,
    next: 'Check the address and that this workspace may connect to it.',
  };
  return new MeshpassError('agent_broker_unreachable', `Cannot reach the broker ${base} (${what}). ${next}`, {
    cause,
    ...options,
  });
}

/** Creates the error for a response that exceeds the size limit. */
export function tooLong(path: string, largest: number): MeshpassError {
  return new MeshpassError(
    'agent_broker_answer_invalid',
    `The agent rejected the broker's response to ${path}: it is longer than ${largest} bytes. The last valid response stays in use.`,
  );
}
