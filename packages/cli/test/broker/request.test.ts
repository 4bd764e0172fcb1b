/** Whoever answers a question of the command line: how long it is waited for. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { ask } from '../../src/broker/request.ts';

let end = () => {};
afterEach(() => {
  vi.useRealTimers();
  end();
});

async function serve(answer: Parameters<typeof createServer>[1]): Promise<string> {
  const server = createServer(answer as never);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  end = () => {
    server.close();
    server.closeAllConnections();
  };
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

it('returns the whole answer, with any status', async () => {
  const url = await serve((_request, response) => void response.writeHead(503).end('{"status":"standby"}'));
  expect(await ask(url, { method: 'GET' })).toMatchObject({ status: 503, json: { status: 'standby' } });
});

it('aborts an endless answer', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const begun = Promise.withResolvers<void>();
  const url = await serve((_request, response) => {
    const dribble = setInterval(() => response.write(' ', () => begun.resolve()), 5);
    response.on('close', () => clearInterval(dribble));
  });
  const asked = ask(url, { method: 'GET' });
  const refused = expect(asked).rejects.toThrow(/no reply from .* in 20 s/);
  await begun.promise;
  vi.advanceTimersByTime(20_000);
  await refused;
});
