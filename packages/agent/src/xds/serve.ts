/**
 * The agent's side of Envoy's control socket: configuration (ADS), secrets (SDS) and access log entries (ALS) by gRPC on a Unix
 * socket that only its owner can open.
 */
import type { Message } from '@bufbuild/protobuf';
import { messageOf, serviceType } from '@meshpass/envoy';
import { LOG_NAME } from '../access-log/loggers.ts';
import type { EnvoySocket } from '../envoy/socket.ts';
import { type Answered, discover, type ResourceSource } from './discovery.ts';
import { type GrpcMethod, serveGrpc } from './grpc.ts';

export interface EnvoySocketOptions {
  readonly socket: EnvoySocket;
  readonly configuration: ResourceSource;
  readonly secrets: ResourceSource;
  /** Told what Envoy took of the configuration, and what it did not. */
  readonly answered: (answer: Answered) => void;
  /** A message of `envoy.service.accesslog.v3.StreamAccessLogsMessage`. */
  readonly logged: (entries: Message) => void;
}

interface StreamedLog extends Message {
  readonly identifier?: { readonly logName: string };
}

/** Answers on the socket until it is closed. */
export function serveEnvoySocket(options: EnvoySocketOptions): { close(): void } {
  const { socket, configuration, secrets, answered, logged } = options;
  const described = (service: string, method: string) => serviceType(service).method[method]!;
  const methods: readonly GrpcMethod[] = [
    {
      described: described('envoy.service.discovery.v3.AggregatedDiscoveryService', 'streamAggregatedResources'),
      answer: (requests) => discover(requests, configuration, answered),
    },
    {
      described: described('envoy.service.secret.v3.SecretDiscoveryService', 'streamSecrets'),
      answer: (requests) => discover(requests, secrets, answered),
    },
    {
      described: described('envoy.service.accesslog.v3.AccessLogService', 'streamAccessLogs'),
      answer: (entries) => takeLogs(entries, logged),
    },
  ];
  const server = serveGrpc(methods);
  socket.serve((connection) => server.take(connection));
  return {
    close: () => {
      socket.close();
      server.close();
    },
  };
}

async function* takeLogs(entries: AsyncIterable<Message>, logged: (entries: Message) => void): AsyncGenerator<Message> {
  let name: string | undefined;
  for await (const one of entries) {
    // Only the first message of a stream says whose it is.
    name ??= (one as StreamedLog).identifier?.logName;
    if (name === LOG_NAME) logged(one);
  }
  yield messageOf('envoy.service.accesslog.v3.StreamAccessLogsResponse', {});
}
