/**
 * Requests a workspace's configuration from istiod like the broker's relay, over one stream of the aggregated discovery
 * service.
 */
import http2 from 'node:http2';
import { fromBinary, type JsonObject, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import {
  CLUSTER,
  LISTENER,
  messageFromJson,
  messageType,
  ROUTE_CONFIGURATION,
  TYPE_URL_PREFIX,
} from '../../src/index.ts';
import { readable } from '../readable.ts';

const SERVICE = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources';
const REQUEST = 'envoy.service.discovery.v3.DiscoveryRequest';
const RESPONSE = messageType('envoy.service.discovery.v3.DiscoveryResponse');

export interface Asked {
  readonly clusters: Any[];
  readonly listeners: Any[];
  readonly routes: Any[];
}

/**
 * Requests the configuration of a node.
 * @param address host:port of istiod's TLS port
 * @param node JSON of envoy.config.core.v3.Node
 */
export async function askIstiod(address: string, ca: string, token: string, node: JsonObject): Promise<Asked> {
  const session = http2.connect(`https://${address}`, { ca, servername: 'istiod.istio-system.svc' });
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': SERVICE,
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: `Bearer ${token}`,
    });
    const failed = new Promise<never>((_, reject) => {
      for (const source of [session, stream]) source.on('error', reject);
      stream.on('trailers', (trailers) => reject(new Error(`istiod ended the stream: ${JSON.stringify(trailers)}`)));
    });
    failed.catch(() => {});
    const answers = new Map<string, (resources: Any[]) => void>();
    let buffered = Buffer.alloc(0);
    stream.on('data', (chunk: Buffer) => {
      buffered = Buffer.concat([buffered, chunk]);
      while (buffered.length >= 5 && buffered.length >= 5 + buffered.readUInt32BE(1)) {
        const end = 5 + buffered.readUInt32BE(1);
        const { typeUrl, resources } = fromBinary(RESPONSE, buffered.subarray(5, end)) as unknown as Response;
        buffered = buffered.subarray(end);
        answers.get(typeUrl)?.(resources);
      }
    });
    const ask = async (type: string, names: string[]): Promise<Any[]> => {
      const typeUrl = TYPE_URL_PREFIX + type;
      const answer = new Promise<Any[]>((resolve) => answers.set(typeUrl, resolve));
      const bytes = toBinary(
        messageType(REQUEST),
        messageFromJson(REQUEST, { node, type_url: typeUrl, resource_names: names }),
      );
      const head = Buffer.alloc(5);
      head.writeUInt32BE(bytes.length, 1);
      stream.write(Buffer.concat([head, bytes]));
      return await Promise.race([answer, failed]);
    };
    const clusters = await ask(CLUSTER, []);
    const listeners = await ask(LISTENER, []);
    const names = listeners.flatMap((listener) =>
      [...JSON.stringify(readable(listener)).matchAll(/"route_config_name":"([^"]+)"/g)].map(([, name]) => name!),
    );
    return {
      clusters,
      listeners,
      routes: names.length === 0 ? [] : await ask(ROUTE_CONFIGURATION, [...new Set(names)]),
    };
  } finally {
    session.destroy();
  }
}

interface Response {
  readonly typeUrl: string;
  readonly resources: Any[];
}
