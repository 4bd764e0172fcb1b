/** What a broker says where it refuses. */
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';
import { plainText } from '@meshpass/identity/text';

/**
 * @param answer JSON of an answer
 * @returns the refusal that it is, whose words a terminal may show whoever wrote them; undefined where it is none
 */
export function refusalIn(answer: unknown): MeshpassError | undefined {
  const { error_code: code, error_description: said } = (answer ?? {}) as Readonly<Record<string, unknown>>;
  if (!isErrorCode(code)) return undefined;
  return new MeshpassError(code, String(said).split('\n').map(plainText).join('\n'));
}
