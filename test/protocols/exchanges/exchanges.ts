/** Every exchange, by name; they run where the caller runs. */
import type { Side } from '../../callers/calls.ts';
import type { Exchange } from './exchange.ts';
import { grpcBidirectional, grpcClientStreaming, grpcServerStreaming, grpcStatus, grpcUnary } from './grpc.ts';
import { early413, expectContinue, http2, keepAlive, serverSentEvents, upload } from './http.ts';
import { webSocket } from './websocket.ts';

interface Named {
  readonly exchange: Exchange;
  /** `HOST:PORT`. */
  readonly authority: string;
  readonly expected: string;
  /** A port that declares no protocol cannot be granted to a Codespace. */
  readonly onlyFrom?: Side;
}

const HTTP = 'echo.shop:8080';
const GRPC = 'echo.shop:9000';
const UNDECLARED = 'echo.shop:7000';

export const EXCHANGES: Readonly<Record<string, Named>> = {
  'HTTP/1.1, kept alive': { exchange: keepAlive, authority: HTTP, expected: '10 answers on 1 connection' },
  'HTTP/1.1 on an undeclared port': {
    exchange: keepAlive,
    authority: UNDECLARED,
    expected: '10 answers on 1 connection',
    onlyFrom: 'pod',
  },
  'HTTP/2': { exchange: http2, authority: HTTP, expected: '50 right answers on 1 connection' },
  'gRPC, unary': { exchange: grpcUnary, authority: GRPC, expected: 'hello, with trailer' },
  'gRPC, status': { exchange: grpcStatus, authority: GRPC, expected: 'NotFound: as asked' },
  'gRPC, server streaming': {
    exchange: grpcServerStreaming,
    authority: GRPC,
    expected: '1000 messages up to 1000, with trailer',
  },
  'gRPC, client streaming': { exchange: grpcClientStreaming, authority: GRPC, expected: 'one two three' },
  'gRPC, both ways': { exchange: grpcBidirectional, authority: GRPC, expected: '10 turns, one by one' },
  WebSocket: {
    exchange: webSocket,
    authority: HTTP,
    expected: '3 of 3 messages back, closed in order with 1000',
  },
  'server-sent events': { exchange: serverSentEvents, authority: HTTP, expected: '20 events, as they are sent' },
  'upload of 64 MiB': { exchange: upload, authority: HTTP, expected: '67108864 bytes, unchanged' },
  'early 413': { exchange: early413, authority: HTTP, expected: '413 before the body' },
  '100-continue': { exchange: expectContinue, authority: HTTP, expected: '100, then 200 for 5 bytes' },
};
