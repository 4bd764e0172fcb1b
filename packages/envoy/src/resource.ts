/** The kinds of resources that a workspace accepts. */
import type { DescMessage } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, messageType, ROUTE_CONFIGURATION, TYPE_URL_PREFIX } from './types.ts';

export interface Kind {
  /** The name to display, such as `Cluster`. */
  readonly title: string;
  /** The field of the configuration that lists resources of this kind. */
  readonly list: 'clusters' | 'listeners' | 'routes';
  readonly type: DescMessage;
}

export const KINDS: readonly Kind[] = [
  { title: 'Cluster', list: 'clusters', type: messageType(CLUSTER) },
  { title: 'Listener', list: 'listeners', type: messageType(LISTENER) },
  { title: 'RouteConfiguration', list: 'routes', type: messageType(ROUTE_CONFIGURATION) },
];

/** Returns the kind of a packed resource, or undefined if a workspace does not accept its type. */
export function kindOf({ typeUrl }: Any): Kind | undefined {
  return KINDS.find(({ type }) => typeUrl === TYPE_URL_PREFIX + type.typeName);
}
