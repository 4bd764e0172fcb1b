/** gRPC over HTTP/2 without TLS, as a program in a pod speaks it. */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Echo } from '@meshpass/lab/apps/echo/schema';
import type { Exchange } from './exchange.ts';

const TIMEOUT_MS = 30_000;

const clientOf = (authority: string) =>
  createClient(Echo, createGrpcTransport({ baseUrl: `http://${authority}`, defaultTimeoutMs: TIMEOUT_MS }));

export const grpcUnary: Exchange = async (authority) => {
  let trailer: string | null = null;
  const onTrailer = (trailers: Headers): void => {
    trailer = trailers.get('x-version');
  };
  const { value } = await clientOf(authority).say({ value: 'hello' }, { onTrailer });
  return `${value}, ${/^v[12]$/.test(trailer ?? '') ? 'with' : 'without'} trailer`;
};

/** A status is in the trailers of an answer without a message. */
export const grpcStatus: Exchange = async (authority) => {
  const failed = await clientOf(authority)
    .say({ value: 'fail 5' })
    .then(
      () => undefined,
      (error) => ConnectError.from(error),
    );
  return failed ? `${Code[failed.code]}: ${failed.rawMessage}` : 'no error';
};

export const grpcServerStreaming: Exchange = async (authority) => {
  let last = '';
  let count = 0;
  let trailer: string | null = null;
  const onTrailer = (trailers: Headers): void => {
    trailer = trailers.get('x-version');
  };
  for await (const { value } of clientOf(authority).count({ value: '1000' }, { onTrailer })) {
    last = value;
    count++;
  }
  return `${count} messages up to ${last}, ${trailer ? 'with' : 'without'} trailer`;
};

export const grpcClientStreaming: Exchange = async (authority) => {
  async function* words() {
    for (const value of ['one', 'two', 'three']) yield { value };
  }
  return (await clientOf(authority).gather(words())).value;
};

/** Each message is sent only after the previous answer: neither direction waits for the other's end. */
export const grpcBidirectional: Exchange = async (authority) => {
  let answered = Promise.withResolvers<void>();
  async function* turns() {
    for (let n = 1; n <= 10; n++) {
      yield { value: String(n) };
      await answered.promise;
      answered = Promise.withResolvers<void>();
    }
  }
  const heard: string[] = [];
  for await (const { value } of clientOf(authority).talk(turns())) {
    heard.push(value);
    answered.resolve();
  }
  return `${heard.length} turns, one by one`;
};
