/** What a broker's refusal becomes, and what no broker answers. */
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';
import { tlsFailure } from '@meshpass/identity/tls-failure';
import { PresenceChallenge } from '@meshpass/identity/wire';

export interface Answer {
  readonly status: number;
  readonly isJson: boolean;
  readonly body: string;
  /** Milliseconds since the epoch by the broker's clock, where it told. */
  readonly date: number | undefined;
  readonly retryAfter: number | undefined;
}

/** @throws MeshpassError agent_broker_unreachable: it is no broker that answers so */
export function parseJson(base: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw unreachable(base, 'its answer is not JSON', cause);
  }
}

/** The broker's refusal, with its own code where it is one. */
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
    // Not the broker's own answer: told below.
  }
  return unreachable(base, `it answered ${answer.status}`, undefined, options);
}

export function unreachable(base: string, why: string, cause: unknown, options: { readonly retryAfter?: number } = {}) {
  const { what, next } = tlsFailure(cause) ?? {
    what: why,
    next: 'Check the address and that this workspace may connect to it.',
  };
  return new MeshpassError('agent_broker_unreachable', `The broker ${base} cannot be reached (${what}). ${next}`, {
    cause,
    ...options,
  });
}

export function tooLong(path: string, largest: number): MeshpassError {
  return new MeshpassError(
    'agent_broker_answer_invalid',
    `The answer of the broker to ${path} was not taken: it is longer than ${largest} bytes. What was valid before stays in use.`,
  );
}
