/** Responses that are none. Each ends an exchange with an error, and none leaves it waiting. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, it } from 'vitest';
import { request, sendAndRead } from '../src/http.ts';

async function exchangeWith(response: string, isOpen = false) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.write(response);
    if (!isOpen) socket.end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const outgoing = request({ host: '127.0.0.1', port, agent: false, signal: AbortSignal.timeout(300) });
  return await sendAndRead(outgoing, 1_024).finally(() => {
    outgoing.destroy();
    server.close();
  });
}

it.each([
  ['a switch to another protocol', 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
  ['none', ''],
  ['other text', 'please wait\r\n\r\n'],
  ['half of a body', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf'],
])('refuses %s', async (_, response) => {
  await expect(exchangeWith(response)).rejects.toThrow();
});

it.each([
  ['a body that never ends', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf'],
  ['information without a response', 'HTTP/1.1 102 Processing\r\n\r\n'],
])('ends with its signal during %s', async (_, response) => {
  await expect(exchangeWith(response, true)).rejects.toThrow();
});
