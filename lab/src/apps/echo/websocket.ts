/** Enough of RFC 6455 to send back what came: whole text and binary frames, ping, close. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

const MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;
const MAX_FRAME_BYTES = 64 * 1024;

/** Takes over a connection on which a client asked for a WebSocket. */
export function echoWebSocket(request: IncomingMessage, socket: Duplex, head: Buffer, version: string): void {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${MAGIC}`).digest('base64');
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'upgrade: websocket',
    'connection: Upgrade',
    `x-version: ${version}`,
  ];
  socket.write(`${[...lines, `sec-websocket-accept: ${accept}`].join('\r\n')}\r\n\r\n`);
  let rest = head;
  const read = (part: Buffer): void => {
    rest = Buffer.concat([rest, part]);
    for (let frame = firstFrame(rest); frame; frame = firstFrame(rest)) {
      rest = rest.subarray(frame.end);
      const { opcode, payload } = frame;
      socket.write(frameOf(opcode === PING ? PONG : opcode, payload));
      if (opcode === CLOSE) socket.end();
    }
    if (rest.length > 2 * MAX_FRAME_BYTES) socket.destroy();
  };
  socket.on('error', () => socket.destroy());
  socket.on('data', read);
  read(Buffer.alloc(0));
}

function firstFrame(bytes: Buffer): { opcode: number; payload: Buffer; end: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes[1]! & 0x7f;
  if (short === 127) throw new Error('frames of more than 64 KiB are not echoed');
  const at = short === 126 ? 4 : 2;
  if (bytes.length < at) return undefined;
  const length = short === 126 ? bytes.readUInt16BE(2) : short;
  const end = at + 4 + length;
  if (bytes.length < end) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, end).map((byte, n) => byte ^ mask[n % 4]!));
  return { opcode: bytes[0]! & 0x0f, payload, end };
}

function frameOf(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.from([0x80 | opcode, Math.min(payload.length, 126)]);
  if (payload.length < 126) return Buffer.concat([head, payload]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(payload.length);
  return Buffer.concat([head, length, payload]);
}
