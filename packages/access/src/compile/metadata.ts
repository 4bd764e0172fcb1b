/** Names, labels and annotations by which compiled objects are found again and traced to their line. */

import type { Place } from '@meshpass/istio';
import type { Manifest } from '../model.ts';

/** On every object of ours, and on nothing else. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const MANAGED_BY = 'meshpass';
/** Name of the grant, on objects that exist for one. */
export const GRANT_LABEL = 'meshpass.dev/grant';
/** FILE:LINE of the entry that asked for the object. */
export const SOURCE_ANNOTATION = 'meshpass.dev/source';

export interface Origin {
  readonly grant?: string;
  /** A whole file, or a line of it. */
  readonly source: string | Place;
  /** Why the object exists, where that is not plain. */
  readonly because?: string;
}

export function metadata(name: string, namespace: string | undefined, origin: Origin): Manifest['metadata'] {
  const { grant, source, because } = origin;
  return {
    name,
    ...(namespace !== undefined && { namespace }),
    labels: { [MANAGED_BY_LABEL]: MANAGED_BY, ...(grant !== undefined && { [GRANT_LABEL]: grant }) },
    annotations: {
      [SOURCE_ANNOTATION]: typeof source === 'string' ? source : `${source.file}:${source.line}`,
      ...(because !== undefined && { 'meshpass.dev/because': because }),
    },
  };
}
