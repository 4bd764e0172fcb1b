/** Refusals in a broker's responses. */
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';

/**
 * Reads a refusal.
 * @param answer JSON of a response
 * @returns the refusal with its text made safe for a terminal; undefined if the response is not a refusal
 */
export function refusalIn(answer: unknown): MeshpassError | undefined {
  const { error_code: code, error_description: said } = (answer ?? {}) as Readonly<Record<string, unknown>>;
  if (!isErrorCode(code)) return undefined;
  return new MeshpassError(code, String(said).split('\n').map(plainText).join('\n'));
}
