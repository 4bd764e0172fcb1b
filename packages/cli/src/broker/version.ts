/** What a broker says about itself, without a session. */
import { MeshpassError } from '@meshpass/identity/error';
import { isPlainText } from '@meshpass/identity/text';
import { tlsFailure } from '@meshpass/identity/tls-failure';
import { ask } from './ask.ts';

/**
 * `GET /version` of a broker.
 * @param broker its public URL
 * @param ca PEM; absent: Node's own roots
 * @throws MeshpassError `usage`, `agent_broker_unreachable`
 */
export async function brokerVersion(broker: string, ca: string | undefined): Promise<string> {
  if (!broker.startsWith('https://') || !URL.canParse(broker))
    throw new MeshpassError('usage', `--broker is ${broker}: give an https:// URL.`);
  const base = new URL(broker).href.replace(/\/+$/, '');
  const answer = await ask(`${base}/version`, { method: 'GET', ca }).catch((cause: Error) => {
    const why = tlsFailure(cause)?.what ?? (cause as NodeJS.ErrnoException).code ?? cause.message;
    throw new MeshpassError('agent_broker_unreachable', `The broker ${base} cannot be reached (${why}).`, { cause });
  });
  const version = (answer.json as { version?: unknown } | undefined)?.version;
  if (answer.status === 200 && typeof version === 'string' && version.length <= 64 && isPlainText(version))
    return version;
  throw new MeshpassError(
    'agent_broker_unreachable',
    answer.status === 404
      ? `The broker ${base} does not tell its version: it is older than this command.`
      : `What answers at ${base} is not a broker: status ${answer.status}.`,
  );
}
