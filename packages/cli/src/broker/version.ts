/** A broker's public information, available without a session. */
import { MeshpassError } from '@meshpass/identity/error';
import { isPlainText } from '@meshpass/identity/text';
import { askBroker, notABroker } from './ask.ts';

/**
 * Requests `GET /version` of a broker.
 * @param broker broker's public URL
 * @param ca PEM; defaults to Node's own roots
 * @throws MeshpassError `usage`, `agent_broker_unreachable`
 */
export async function brokerVersion(broker: string, ca: string | undefined): Promise<string> {
  if (!broker.startsWith('https://') || !URL.canParse(broker))
    throw new MeshpassError('usage', `--broker must be an https:// URL, not ${broker}.`);
  const base = new URL(broker).href.replace(/\/+$/, '');
  const answer = await askBroker(base, '/version', ca);
  const version = (answer.json as { version?: unknown } | undefined)?.version;
  if (answer.status === 200 && typeof version === 'string' && version.length <= 64 && isPlainText(version))
    return version;
  throw notABroker(base, answer);
}
