/**
 * Calls a service over many HTTP/1.1 connections at the same time, each a few times; prints what was answered. Runs as a
 * process of its own, inside a host of the lab.
 *
 *   node test/traffic/call-at-once.ts URL CONNECTIONS CALLS
 */
import { Agent, request } from 'node:http';

export interface Called {
  readonly path: string;
  readonly status: number;
  readonly code: string | undefined;
  readonly body: string;
}

if (import.meta.main) {
  const [url, connections, calls] = process.argv.slice(2);
  const agent = new Agent({ keepAlive: true, maxSockets: Number(connections) });
  const called = await Promise.all(
    Array.from({ length: Number(connections) * Number(calls) }, (_, n) => call(url!, n, agent)),
  );
  console.log(JSON.stringify(called));
  process.exit(0);
}

function call(url: string, n: number, agent: Agent): Promise<Called> {
  const [path, method, body] = (
    [
      [`/orders/${n}`, 'GET', ''],
      ['/whoami', 'GET', ''],
      [`/admin/${n}`, 'GET', ''],
      ['/refunds', 'POST', JSON.stringify({ order: n })],
    ] as const
  )[n % 4]!;
  return new Promise((resolve, reject) => {
    const asked = request(url + path, { method, agent }, (response) => {
      let text = '';
      response.on('data', (part) => {
        text += part;
      });
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response;
        resolve({ path, status, code: headers['x-meshpass-code'] as string | undefined, body: text });
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}
