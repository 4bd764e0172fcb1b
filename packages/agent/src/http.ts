/** Sends HTTP requests without `fetch`, which needs memory and WebAssembly that the agent does not have. */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { readBounded } from '@meshpass/identity';

/**
 * The HTTP module of Node.js. An `import` statement would read all of its exports, including `WebSocket`, which loads
 * the web `fetch` and its dependencies. That would waste 14 MB of memory.
 */
export const { Agent, createServer, request } = process.getBuiltinModule('node:http');

/**
 * Sends a request and reads the whole response.
 * @param most the maximum size of the response, in bytes
 * @throws Error if the connection fails or ends without a response, or if the response is too large
 */
export async function sendAndRead(
  outgoing: ClientRequest,
  most: number,
  body?: string,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string }> {
  // Once the response has arrived, errors are reported through the response.
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.on('response', resolve).on('error', reject);
    // If the response switches protocols, the request ends without emitting an error.
    outgoing.on('close', () => reject(new Error('no response')));
    outgoing.end(body);
  });
  const text = (await readBounded(incoming, most)).toString('utf8');
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, text };
}
