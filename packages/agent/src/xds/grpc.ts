/**
 * Implements the server side of gRPC over HTTP/2 for streams of messages (see "gRPC over HTTP2" on grpc.io). It is
 * limited to what Envoy needs, so it does not support compression, deadlines or metadata. A complete gRPC library would
 * load the web `fetch` into the agent process, which costs 8 MB of memory.
 */
import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { type DescMethod, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';

/** Handles a call. It must end when its requests end, which also happens when Envoy disconnects. */
export type Answer = (requests: AsyncIterable<Message>) => AsyncIterable<Message>;

export interface GrpcMethod {
  readonly described: DescMethod;
  readonly answer: Answer;
}

/** The gRPC status codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
const STATUS = { ok: 0, invalidArgument: 3, resourceExhausted: 8, unimplemented: 12, internal: 13 } as const;
const CONTENT_TYPE = 'application/grpc';
/** The size of a message prefix, which consists of the compression flag and the message length, in bytes. */
const PREFIX = 5;
/** The maximum size of a message, in bytes. */
const LARGEST_MESSAGE = 4_194_304;

/** Creates a gRPC server. Connections are passed to its `take` method. */
export function serveGrpc(methods: readonly GrpcMethod[]): { take(connection: Socket): void; close(): void } {
  const byPath = new Map(
    methods.map((method) => [`/${method.described.parent.typeName}/${method.described.name}`, method]),
  );
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => session.destroy());
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {}); // the stream also emits `close`
    void call(stream as ServerHttp2Stream, headers, byPath).catch(() => stream.destroy());
  });
  return {
    take: (connection) => void server.emit('connection', connection),
    close: () => {
      for (const session of sessions) session.destroy();
    },
  };
}

async function call(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  byPath: ReadonlyMap<string, GrpcMethod>,
): Promise<void> {
  const isGrpc = headers[':method'] === 'POST' && headers['content-type']?.startsWith(CONTENT_TYPE);
  if (!isGrpc) return stream.respond({ ':status': 415 }, { endStream: true });
  const method = byPath.get(headers[':path'] ?? '');
  let status: number = method ? STATUS.ok : STATUS.unimplemented;
  stream.respond({ ':status': 200, 'content-type': CONTENT_TYPE }, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }));
  try {
    if (method) {
      const requests = messagesOf(stream, method.described, (refused) => {
        status = refused;
      });
      await send(stream, method, requests);
    }
  } catch {
    status = STATUS.internal;
  }
  if (stream.destroyed) return;
  stream.end();
  stream.resume(); // discards any further data
}

async function send(
  stream: ServerHttp2Stream,
  { described, answer }: GrpcMethod,
  requests: AsyncIterable<Message>,
): Promise<void> {
  for await (const message of answer(requests)) {
    if (stream.destroyed) return;
    const body = toBinary(described.output, message);
    const prefix = Buffer.alloc(PREFIX);
    prefix.writeUInt32BE(body.length, 1);
    stream.write(prefix);
    if (!stream.write(body)) await writable(stream);
  }
}

/**
 * Parses the messages of a stream, and stops at the first one that is invalid.
 * @param refuse called with the status code of the refusal
 */
async function* messagesOf(
  stream: ServerHttp2Stream,
  { input }: DescMethod,
  refuse: (status: number) => void,
): AsyncGenerator<Message> {
  let bytes: Buffer = Buffer.alloc(0);
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= PREFIX) {
      const refused = refusalOf(bytes);
      if (refused !== undefined) return refuse(refused);
      const end = PREFIX + bytes.readUInt32BE(1);
      if (bytes.length < end) break;
      const message = parsed(input, bytes.subarray(PREFIX, end));
      if (!message) return refuse(STATUS.invalidArgument);
      yield message;
      bytes = bytes.subarray(end);
    }
  }
  if (bytes.length > 0) refuse(STATUS.invalidArgument);
}

/** Returns the status code with which to refuse a message because of its prefix. */
function refusalOf(prefix: Buffer): number | undefined {
  if (prefix[0] !== 0) return STATUS.unimplemented; // compressed messages are not supported
  return prefix.readUInt32BE(1) > LARGEST_MESSAGE ? STATUS.resourceExhausted : undefined;
}

function parsed(input: DescMethod['input'], bytes: Buffer): Message | undefined {
  try {
    return fromBinary(input, bytes);
  } catch {
    return undefined;
  }
}

function writable(stream: ServerHttp2Stream): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}
