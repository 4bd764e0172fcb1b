/** A WebSocket: text and binary, both ways, closed in order. */
import type { Exchange } from './exchange.ts';

export const webSocket: Exchange = (authority) =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${authority}/socket`);
    socket.binaryType = 'arraybuffer';
    const sent = ['hello', 'x'.repeat(300), new Uint8Array(20_000).fill(7)];
    const back: (string | ArrayBuffer)[] = [];
    socket.addEventListener('open', () => {
      for (const message of sent) socket.send(message);
    });
    socket.addEventListener('error', () => reject(new Error('the WebSocket failed')));
    socket.addEventListener('message', ({ data }) => {
      back.push(data);
      if (back.length === sent.length) socket.close(1000, 'done');
    });
    socket.addEventListener('close', ({ code, wasClean }) => {
      const same = back.filter((message, n) => sizeOf(message) === sizeOf(sent[n]!)).length;
      resolve(`${same} of ${sent.length} messages back, closed ${wasClean ? 'in order' : 'abruptly'} with ${code}`);
    });
  });

function sizeOf(message: string | ArrayBuffer | Uint8Array): number {
  return typeof message === 'string' ? message.length : message.byteLength;
}
