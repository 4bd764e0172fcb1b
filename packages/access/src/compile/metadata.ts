/** The names, labels and annotations that identify compiled objects and the grants they belong to. */

import type { Access, Manifest } from '../model.ts';

/** The label on every object that Meshpass manages. Its value is `MANAGED_BY`. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const MANAGED_BY = 'meshpass';
/** The label that contains the name of a grant. Only objects that belong to a grant have it. */
export const GRANT_LABEL = 'meshpass.dev/grant';
export interface Origin {
  readonly grant?: string;
  /** The reason why the object exists, if it is not obvious. */
  readonly because?: string;
}

/** Creates the metadata of a compiled object. */
export function metadata(name: string, namespace: string | undefined, origin: Origin = {}): Manifest['metadata'] {
  const { grant, because } = origin;
  return {
    name,
    ...(namespace !== undefined && { namespace }),
    labels: { [MANAGED_BY_LABEL]: MANAGED_BY, ...(grant !== undefined && { [GRANT_LABEL]: grant }) },
    // The place in the file is left out, so that adding a comment to the file does not change any object.
    ...(because !== undefined && { annotations: { 'meshpass.dev/because': because } }),
  };
}

/**
 * Returns the part of the access file that an object was compiled from: FILE:LINE of its grant, or only the file name
 * if the object does not belong to a grant.
 * @example
 * ```ts
 * import { parseAccess, sourceOf } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * sourceOf(access, { metadata: { labels: { 'meshpass.dev/grant': 'dev' } } }); // => 'access.yaml:4'
 * sourceOf(access, { metadata: { labels: {} } }); // => 'access.yaml'
 * ```
 */
export function sourceOf(
  { file, grants }: Pick<Access, 'file' | 'grants'>,
  { metadata: { labels } }: { readonly metadata: Pick<Manifest['metadata'], 'labels'> },
): string {
  const place = grants.find(({ name }) => name === labels[GRANT_LABEL])?.place;
  return place ? `${place.file}:${place.line}` : file;
}
