/**
 * Serves the agent's side of the Unix socket that Envoy connects to, which only its owner can open. It provides the
 * configuration (ADS) and secrets (SDS), and receives access log entries (ALS). All of this uses gRPC.
 */
import type { Message } from '@bufbuild/protobuf';
import { messageFromJson, serviceType } from '@meshpass/envoy';
import { LOG_NAME } from '../access-log/loggers.ts';
import type { EnvoySocket } from '../envoy/socket.ts';
import { type DiscoveryAck, type ResourceStore, serveDiscovery } from './discovery.ts';
import { type Answer, type GrpcMethod, serveGrpc } from './grpc.ts';

export interface EnvoySocketOptions {
  readonly socket: EnvoySocket;
  readonly configuration: ResourceStore;
  readonly secrets: ResourceStore;
  /** Called with Envoy's reaction to each configuration. */
  readonly answered: (answer: DiscoveryAck) => void;
  /** Handles `envoy.service.auth.v3.Authorization.Check`, which decides on requests from containers. */
  readonly addresses: Answer;
  /** Called with each `envoy.service.accesslog.v3.StreamAccessLogsMessage`. */
  readonly logged: (entries: Message) => void;
}

interface StreamedLog extends Message {
  readonly identifier?: { readonly logName: string };
}

/**
 * Serves all connections to the socket.
 * @returns an object whose `close` method ends the connections to the socket
 */
export function serveEnvoySocket(options: EnvoySocketOptions): { close(): void } {
  const { socket, configuration, secrets, answered, logged, addresses } = options;
  const described = (service: string, method: string) => serviceType(service).method[method]!;
  const methods: readonly GrpcMethod[] = [
    {
      described: described('envoy.service.discovery.v3.AggregatedDiscoveryService', 'streamAggregatedResources'),
      answer: (requests) => serveDiscovery(requests, configuration, answered),
    },
    {
      described: described('envoy.service.secret.v3.SecretDiscoveryService', 'streamSecrets'),
      answer: (requests) => serveDiscovery(requests, secrets, answered),
    },
    {
      described: described('envoy.service.accesslog.v3.AccessLogService', 'streamAccessLogs'),
      answer: (entries) => takeLogs(entries, logged),
    },
    { described: described('envoy.service.auth.v3.Authorization', 'check'), answer: addresses },
  ];
  const server = serveGrpc(methods);
  socket.serve((connection) => server.take(connection));
  return server;
}

async function* takeLogs(entries: AsyncIterable<Message>, logged: (entries: Message) => void): AsyncGenerator<Message> {
  let name: string | undefined;
  for await (const one of entries) {
    // Only the first message of a stream identifies its logger.
    name ??= (one as StreamedLog).identifier?.logName;
    if (name === LOG_NAME) logged(one);
  }
  yield messageFromJson('envoy.service.accesslog.v3.StreamAccessLogsResponse', {});
}
