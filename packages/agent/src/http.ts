/** HTTP requests without `fetch`, which needs memory and WebAssembly that the agent does not have. */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { readBounded } from '@meshpass/identity/limits/read-bounded';

/**
 * Node's HTTP module. An `import` would read every export, and `WebSocket` loads the web's `fetch` with its
 * dependencies: 14 MB of memory that the agent does not need.
 */
export const { Agent, createServer, request } = process.getBuiltinModule('node:http');

/**
 * Sends a request and reads its whole response.
 * @param most maximum bytes of the response
 * @throws Error if the connection fails or ends without a response, or the response is longer
 */
export async function sendAndRead(
  outgoing: ClientRequest,
  most: number,
  body?: string,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string }> {
  // After the response, errors reach the caller through the response.
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.on('response', resolve).on('error', reject);
    // A response that switches protocols ends the request without an error.
    outgoing.on('close', () => reject(new Error('no response')));
    outgoing.end(body);
  });
  const text = (await readBounded(incoming, most)).toString('utf8');
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, text };
}
