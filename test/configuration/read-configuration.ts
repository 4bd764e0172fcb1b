/** An answer of `GET /session/configuration`, in the forms in which tests look at it. */
import { fromBinary, type JsonObject } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { Answer } from '@meshpass/cli/broker/ask';
import { asJson, unpack } from '@meshpass/envoy';
import { ConfigurationResponse } from '@meshpass/identity';

/** @throws Error where it is none */
export function readConfiguration(answer: Answer) {
  const { version, listeners, clusters, routes, left_out } = ConfigurationResponse.parse(answer.json);
  const anys = (list: readonly string[]) => list.map((one) => fromBinary(AnySchema, Buffer.from(one, 'base64')));
  const configuration = { version, listeners: anys(listeners), clusters: anys(clusters), routes: anys(routes) };
  const all = [...configuration.listeners, ...configuration.clusters, ...configuration.routes];
  return {
    ...{ version, configuration, left_out },
    bytes: Buffer.concat(all.map(({ value }) => Buffer.from(value))),
    text: all.map((any) => JSON.stringify(asJson(unpack(any)!))).join('\n'),
    names: all.map((any) => String((asJson(unpack(any)!) as JsonObject).name)),
  };
}
