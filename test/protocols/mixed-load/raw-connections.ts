/** Behaviours of a program on its own HTTP/1.1 connection: pipelining, half-closes, aborts at any byte. */
import { connect, type Socket } from 'node:net';
import { readAnswers } from './http1-answers.ts';
import type { Random } from './random.ts';
import type { Sent, Tally } from './tally.ts';

export interface Target {
  readonly host: string;
  readonly port: number;
}

/** Sends all at once, cut at random places, and expects the answers in order. */
export async function pipeline(target: Target, requests: readonly Sent[], random: Random, tally: Tally): Promise<void> {
  await converse(target, requests, tally, async (socket) => writeInParts(socket, requests, random));
}

/** Works like `pipeline`, but half-closes at once. Unanswered requests count as abandoned, because a proxy may drop them. */
export async function halfClose(
  target: Target,
  requests: readonly Sent[],
  random: Random,
  tally: Tally,
): Promise<void> {
  const write = async (socket: Socket): Promise<void> => {
    await writeInParts(socket, requests, random);
    socket.end();
  };
  await converse(target, requests, tally, write, true);
}

/** Goes away in the middle of a request. */
export async function abortRequest(target: Target, request: Sent, random: Random, tally: Tally): Promise<void> {
  tally.abandon(request);
  const bytes = bytesOf(request);
  await new Promise<void>((resolve) => {
    const socket = connect(target.port, target.host, () =>
      socket.write(bytes.subarray(0, random.below(bytes.length)), () => socket.destroy()),
    );
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
}

/** Goes away in the middle of the answer. */
export async function abortAnswer(target: Target, request: Sent, tally: Tally): Promise<void> {
  tally.abandon(request);
  await new Promise<void>((resolve) => {
    const socket = connect(target.port, target.host, () => socket.write(bytesOf(request)));
    socket.on('data', () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
}

function converse(
  { host, port }: Target,
  requests: readonly Sent[],
  tally: Tally,
  write: (socket: Socket) => Promise<void>,
  mayGiveUp = false,
): Promise<void> {
  return new Promise((resolve) => {
    const due = [...requests];
    const reader = readAnswers();
    let why = 'the connection was closed without an answer';
    const socket = connect(port, host, () => void write(socket));
    socket.on('data', (part: Buffer) => {
      try {
        for (const answer of reader.read(part)) {
          const request = due.shift();
          if (request) tally.receive(request, answer);
          else throw new Error('more answers than requests');
        }
      } catch (error) {
        for (const request of due.splice(0)) tally.lose(request, (error as Error).message);
      }
      if (due.length === 0) socket.destroy();
    });
    let isReset = false;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      isReset = error.code === 'ECONNRESET';
      why = `the connection failed before an answer: ${error.code} at ${error.syscall}`;
    });
    socket.on('close', () => {
      for (const request of due.splice(0)) {
        if (mayGiveUp) tally.abandon(request);
        // RFC 9112, 9.3.2: a client sends requests of a pipeline again that have no answer when the connection closes.
        // 9.6: if later requests were unread at the close, TCP may discard the answer.
        else if (request !== requests[0] || (isReset && requests.length > 1)) tally.leave(request);
        else tally.lose(request, why);
      }
      resolve();
    });
  });
}

async function writeInParts(socket: Socket, requests: readonly Sent[], random: Random): Promise<void> {
  const bytes = Buffer.concat(requests.map(bytesOf));
  for (let at = 0; at < bytes.length; ) {
    const end = random.below(2) === 0 ? bytes.length : at + 1 + random.below(bytes.length - at);
    socket.write(bytes.subarray(at, end));
    if (end < bytes.length) await new Promise((resolve) => setImmediate(resolve));
    at = end;
  }
}

function bytesOf({ method, path, headers, body }: Sent): Buffer {
  const lines = Object.entries({ host: 'echo.shop:8080', ...headers }).map(([name, value]) => `${name}: ${value}`);
  const length = body.length > 0 || method === 'POST' ? [`content-length: ${body.length}`] : [];
  return Buffer.concat([
    Buffer.from(`${[`${method} ${path} HTTP/1.1`, ...lines, ...length].join('\r\n')}\r\n\r\n`),
    body,
  ]);
}
