/** The ID token of a job of GitHub Actions (docs.github.com, "OpenID Connect reference", "Requesting the JWT"). */
import { request } from 'node:https';

/** Milliseconds until the whole answer must be there. */
const TIMEOUT = 10_000;
/** Characters of an answer. */
const LARGEST = 65_536;

/**
 * Not by `fetch`, which needs 7 MB of memory, and WebAssembly, which the agent's process does without.
 * @returns `value` of the answer
 * @throws Error where there is none
 */
export function requestActionsToken(url: URL, requestToken: string): Promise<unknown> {
  const headers = { authorization: `Bearer ${requestToken}`, accept: 'application/json' };
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { headers, signal: AbortSignal.timeout(TIMEOUT), agent: false }, (incoming) => {
      let text = '';
      incoming.setEncoding('utf8');
      incoming.on('error', reject);
      incoming.on('data', (part: string) => {
        text += part;
        if (text.length > LARGEST) outgoing.destroy(new Error('the answer is too large'));
      });
      incoming.on('end', () => {
        if (incoming.statusCode !== 200) return reject(new Error(`status ${incoming.statusCode}`));
        try {
          resolve((JSON.parse(text) as { value?: unknown } | null)?.value);
        } catch (error) {
          reject(error);
        }
      });
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}
