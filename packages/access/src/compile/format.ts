/** Manifests as YAML text: the same text for the same manifests. */
import { stringify } from 'yaml';
import type { Manifest } from '../model.ts';

/** One YAML document per manifest, in the order given. */
export function formatManifests(manifests: readonly Manifest[]): string {
  return manifests
    .map((manifest) => `---\n${stringify(manifest, { lineWidth: 0, aliasDuplicateObjects: false })}`)
    .join('');
}
