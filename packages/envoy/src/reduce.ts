/** Applies the allow list in the broker. The broker removes and reports all parts that a workspace would reject. */
import { fromBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import {
  type ExpectedValues,
  kindOf,
  type LeftOut,
  MAX_DEPTH,
  MAX_OMISSIONS,
  MAX_RESOURCE_BYTES,
} from './configuration.ts';
import { pack } from './types.ts';
import { walkResource } from './walk.ts';

/**
 * Removes all parts of a resource, such as filters, access loggers and routes, that `checkConfiguration` would refuse
 * because of their type, field or value. Removes the whole resource if its meaning would otherwise change. Without
 * this, the EnvoyFilter of a single team could make every workspace refuse its configuration.
 * @returns the parts that were omitted, and the resource, which is undefined if it was removed as a whole
 * @param expected the values of the workspace. If absent, names are not checked. Call the function again with
 *   `expected` when all names are final
 * @example
 * ```ts
 * import { messageOf, pack, reduceResource, CLUSTER } from '@meshpass/envoy';
 * const { resource, leftOut } = reduceResource(pack(messageOf(CLUSTER, { name: 'dev/x', dns_lookup_family: 'V4_ONLY' })));
 * leftOut[0]?.what; // => 'envoy.config.cluster.v3.Cluster.dns_lookup_family'
 * ```
 */
export function reduceResource(
  resource: Any,
  expected?: ExpectedValues,
): { readonly resource: Any | undefined; readonly leftOut: readonly LeftOut[] } {
  const leftOut: LeftOut[] = [];
  const none = (reason: string) => ({
    resource: undefined,
    leftOut: [{ what: resource.typeUrl, where: '', reason }],
  });
  const kind = kindOf(resource);
  if (!kind) return none('the type is not accepted');
  if (resource.value.length > MAX_RESOURCE_BYTES) return none('it is too large');
  try {
    const message = fromBinary(kind.type, resource.value, { recursionLimit: MAX_DEPTH });
    const failed = walkResource(message, {
      expected,
      repair: true,
      refer: () => {},
      count: () => {},
      spend: () => {},
      found: (finding) => {
        if (leftOut.length < MAX_OMISSIONS) leftOut.push(finding);
      },
    });
    return failed ? { resource: undefined, leftOut: [...leftOut, failed] } : { resource: pack(message), leftOut };
  } catch {
    return none('it cannot be decoded');
  }
}
