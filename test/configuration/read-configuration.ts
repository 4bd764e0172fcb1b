/** An answer of `GET /session/configuration`, in the forms that tests compare. */
import { fromBinary, type JsonObject } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { Answer } from '@meshpass/cli/broker/request';
import { toProtoJson, unpack } from '@meshpass/envoy';
import { parseJws } from '@meshpass/identity';
import { CONFIGURATION_HEADER, ConfigurationStatement } from '@meshpass/identity/channel';
import { ConfigurationResponse } from '@meshpass/identity/wire';

/** @throws Error if it is none */
export function readConfiguration(answer: Answer) {
  const { listeners, clusters, routes, left_out } = ConfigurationResponse.parse(answer.json);
  const { version, digest } = ConfigurationStatement.parse(
    parseJws(String(answer.headers[CONFIGURATION_HEADER]))?.claims,
  );
  const anys = (list: readonly string[]) => list.map((one) => fromBinary(AnySchema, Buffer.from(one, 'base64')));
  const configuration = { version, listeners: anys(listeners), clusters: anys(clusters), routes: anys(routes) };
  const all = [...configuration.listeners, ...configuration.clusters, ...configuration.routes];
  return {
    version,
    digest,
    configuration,
    left_out,
    bytes: Buffer.concat(all.map(({ value }) => Buffer.from(value))),
    text: all.map((any) => JSON.stringify(toProtoJson(unpack(any)!))).join('\n'),
    names: all.map((any) => String((toProtoJson(unpack(any)!) as JsonObject).name)),
  };
}
