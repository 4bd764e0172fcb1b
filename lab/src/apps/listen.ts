/** Shared by the sample services: JSON answers, and a line in the log when they listen. */
import { createServer, type RequestListener, type ServerResponse } from 'node:http';

/** @param port on all addresses of the host */
export function listen(port: number, handler: RequestListener): void {
  const server = createServer({ keepAliveTimeout: 60_000 }, handler);
  server.listen(port, '0.0.0.0', () => process.stdout.write(`listening on ${port}\n`));
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const payload = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': payload.length });
  response.end(payload);
}
