/** gRPC on the wire, against Node's own HTTP/2 client: responses, and statuses of refusals. */
import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { createServer, type Server } from 'node:net';
import { type Message, toBinary } from '@bufbuild/protobuf';
import { messageFromJson, messageType, serviceType } from '@meshpass/envoy';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { serveGrpc } from '../../src/xds/grpc.ts';

const SERVICE = 'envoy.service.discovery.v3.AggregatedDiscoveryService';
const PATH = `/${SERVICE}/StreamAggregatedResources`;
const REQUEST = 'envoy.service.discovery.v3.DiscoveryRequest';
const LIMIT = 4_194_304;

let ended: number;
let server: Server;
let client: ClientHttp2Session;
let grpc: ReturnType<typeof serveGrpc>;

beforeEach(async () => {
  ended = 0;
  grpc = serveGrpc([
    {
      described: serviceType(SERVICE).method.streamAggregatedResources!,
      answer: async function* (requests) {
        try {
          for await (const one of requests) yield echo((one as Message & { typeUrl: string }).typeUrl);
        } finally {
          ended += 1;
        }
      },
    },
  ]);
  server = createServer((connection) => grpc.take(connection));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  client = connect(`http://127.0.0.1:${(server.address() as { port: number }).port}`);
  client.on('error', () => {});
});
afterEach(() => {
  client.destroy();
  grpc.close();
  server.close();
});

function echo(typeUrl: string): Message {
  return messageFromJson('envoy.service.discovery.v3.DiscoveryResponse', { type_url: typeUrl });
}

function framed(body: Uint8Array, { flag = 0, length = body.length } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, body]);
}

function request(typeUrl: string): Uint8Array {
  return toBinary(messageType(REQUEST), messageFromJson(REQUEST, { type_url: typeUrl }));
}

/** Sends byte sequences, each in its own frame. @returns everything received */
async function call(chunks: readonly Uint8Array[], path = PATH, contentType = 'application/grpc') {
  const stream = client.request({ ':method': 'POST', ':path': path, 'content-type': contentType, te: 'trailers' });
  const got: { status?: number; grpc?: string } = {};
  stream.on('response', (headers) => Object.assign(got, { status: headers[':status'] }));
  stream.on('trailers', (trailers) => Object.assign(got, { grpc: trailers['grpc-status'] }));
  for (const chunk of chunks) {
    stream.write(chunk);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  stream.end();
  let body = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>) body = Buffer.concat([body, chunk]);
  return { ...got, body };
}

test('answers each message, however it is split into frames', async () => {
  const [first, second, third] = ['a', 'b'.repeat(40_000), 'c'].map((one) => framed(request(one)));
  const all = Buffer.concat([first!, second!, third!]);
  const answer = Buffer.concat(
    ['a', 'b'.repeat(40_000), 'c'].map((one) =>
      framed(toBinary(messageType('envoy.service.discovery.v3.DiscoveryResponse'), echo(one))),
    ),
  );
  const cut = [1, 3, 9, 20_000, 40_015].map((end, index, ends) => all.subarray(index ? ends[index - 1] : 0, end));
  for (const chunks of [[all], [...cut, all.subarray(40_015)]]) {
    const { status, grpc: code, body } = await call(chunks);
    expect({ status, code }).toEqual({ status: 200, code: '0' });
    expect(body.equals(answer)).toBe(true);
  }
});

test.each([
  ['an unknown method', [framed(request('a'))], '/envoy.service.discovery.v3.AggregatedDiscoveryService/Other', '12'],
  ['a compressed message', [framed(request('a'), { flag: 1 })], PATH, '12'],
  ['a message with a length above the limit', [framed(request('a'), { length: LIMIT + 1 })], PATH, '8'],
  ['bytes that are not a message', [framed(Buffer.from([0xff, 0xff]))], PATH, '3'],
  ['an incomplete message', [framed(request('a'), { length: 1_000 })], PATH, '3'],
])('refuses %s', async (_what, chunks, path, code) => {
  expect(await call(chunks, path)).toMatchObject({ status: 200, grpc: code });
});

test('refuses what is not gRPC', async () => {
  expect(await call([], PATH, 'application/json')).toMatchObject({ status: 415 });
});

test('ends the response to a call that the client cancels', async () => {
  const stream = client.request({ ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc' });
  stream.on('error', () => {});
  stream.write(framed(request('a')));
  await once(stream, 'data');
  stream.destroy();
  await expect.poll(() => ended).toBe(1);
});
