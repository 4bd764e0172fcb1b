/** Applies the allow list in the broker, which removes and reports every part that a workspace would reject. */
import { fromBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { type ExpectedValues, type LeftOut, MAX_DEPTH, MAX_OMISSIONS, MAX_RESOURCE_BYTES } from './configuration.ts';
import { kindOf } from './resource.ts';
import { pack } from './types.ts';
import { walkResource } from './walk.ts';

/**
 * Removes from a resource all parts whose type, field or value `checkConfiguration` would refuse: filters, access
 * loggers, routes and so on. Removes the whole resource if less of it would mean something else. One team's EnvoyFilter
 * must not make every workspace refuse its configuration.
 * @returns the resource, undefined if no part of it may be omitted; and the omitted parts
 * @param expected values of the workspace. Without them names are not checked; call again with `expected` once all
 *   names are final
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
