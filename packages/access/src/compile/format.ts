/** Formats manifests as YAML. The same manifests always produce the same text. */
import { stringify } from 'yaml';
import type { Manifest } from '../model.ts';

/**
 * Formats each manifest as a YAML document, in the given order.
 * @example
 * ```ts
 * import { formatManifests } from '@meshpass/access';
 * formatManifests([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'dev', labels: {} } }]);
 * // => '---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: dev\n  labels: {}\n'
 * ```
 */
export function formatManifests(manifests: readonly Manifest[]): string {
  return manifests
    .map((manifest) => `---\n${stringify(manifest, { lineWidth: 0, aliasDuplicateObjects: false })}`)
    .join('');
}
