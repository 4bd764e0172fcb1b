/** Sends HTTP requests without `fetch`, which needs memory and WebAssembly that are not available in the agent. */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { readBounded } from '@meshpass/identity/limits/read-bounded';

/**
 * Node's HTTP module. An `import` would read all of its exports, and reading `WebSocket` loads the web `fetch` with its
 * dependencies. That would cost 14 MB of memory for nothing.
 */
export const { Agent, createServer, request } = process.getBuiltinModule('node:http');

/**
 * Sends a request and reads the entire response.
 * @param most maximum response size, bytes
 * @throws Error if the connection fails or ends without a response, or if the response is too large
 */
export async function sendAndRead(
  outgoing: ClientRequest,
  most: number,
  body?: string,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string }> {
  // Once the response has arrived, errors reach the caller through the response.
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.on('response', resolve).on('error', reject);
    // If the response switches protocols, the request ends without an error.
    outgoing.on('close', () => reject(new Error('no response')));
    outgoing.end(body);
  });
  const text = (await readBounded(incoming, most)).toString('utf8');
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, text };
}
