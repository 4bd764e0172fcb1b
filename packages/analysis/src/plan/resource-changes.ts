/** Determines which objects a change creates, modifies or removes. */

import type { Manifest } from '@meshpass/access/compile';
import type { Resource } from '@meshpass/istio';
import { canonicalJson } from '../canonical-json.ts';

export interface ResourceChange {
  readonly kind: string;
  /** The object's name as `NAMESPACE/NAME`, or just its name if it is cluster-scoped. */
  readonly name: string;
  readonly does: 'create' | 'change' | 'remove';
  /** The FILE:LINE of the grant that requires the object, or just the file. */
  readonly source?: string;
}

/**
 * Lists the objects that are created, changed and removed when an access file is applied.
 * @param present the objects that Meshpass wrote previously
 * @param wanted the manifests that were compiled from the access file
 * @param sourceOf returns the position in the access file that an object comes from, like the function of the same name
 *   in `@meshpass/access`
 * @example
 * ```ts
 * import { resourceChanges } from '@meshpass/analysis/plan';
 * const metadata = { name: 'meshpass-dev', labels: {} };
 * resourceChanges([], [{ apiVersion: 'v1', kind: 'Namespace', metadata }]).map(({ does, name }) => [does, name]); // => [['create', 'meshpass-dev']]
 * ```
 */
export function resourceChanges(
  present: readonly Resource[],
  wanted: readonly Manifest[],
  sourceOf: (manifest: Manifest) => string | undefined = () => undefined,
): readonly ResourceChange[] {
  const before = new Map(present.map((one) => [keyOf(one), one]));
  const after = new Map(wanted.map((one) => [keyOf(one), one]));
  const changed = wanted.flatMap((manifest): ResourceChange[] => {
    const was = before.get(keyOf(manifest));
    if (was && contentOf(was, manifest) === contentOf(manifest, manifest)) return [];
    const source = sourceOf(manifest);
    return [{ ...nameOf(manifest), does: was ? 'change' : 'create', ...(source !== undefined && { source }) }];
  });
  const removed = present
    .filter((one) => !after.has(keyOf(one)))
    .map((one) => ({ ...nameOf(one), does: 'remove' as const }));
  return [...changed, ...removed];
}

/**
 * Returns only those manifests that have to be written when an access file is applied.
 * @param changes the result of `resourceChanges`
 * @example
 * ```ts
 * import { manifestsToWrite, resourceChanges } from '@meshpass/analysis/plan';
 * const wanted = [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'meshpass-dev', labels: {} } }];
 * manifestsToWrite(wanted, resourceChanges([], wanted)).length; // => 1
 * manifestsToWrite(wanted, []).length; // => 0
 * ```
 */
export function manifestsToWrite(wanted: readonly Manifest[], changes: readonly ResourceChange[]): readonly Manifest[] {
  const written = new Set(changes.filter(({ does }) => does !== 'remove').map(({ kind, name }) => `${kind} ${name}`));
  return wanted.filter((manifest) => written.has(keyOf(manifest)));
}

type Named = { readonly kind: string; readonly metadata: { readonly name: string; readonly namespace?: string } };

function nameOf({ kind, metadata }: Named): { readonly kind: string; readonly name: string } {
  return { kind, name: metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name };
}

function keyOf(object: Named): string {
  return `${object.kind} ${nameOf(object).name}`;
}

/** Returns the content of the fields that Meshpass writes. All other fields are managed by the API server. */
function contentOf(object: object, ours: object): string {
  const { metadata, ...members } = object as Record<string, unknown>;
  const { labels = {}, annotations = {} } = metadata as { labels?: object; annotations?: object };
  const written = (all: object) =>
    Object.fromEntries(Object.entries(all).filter(([name]) => /^(?:meshpass\.dev|app\.kubernetes\.io)\//.test(name)));
  const kept = Object.fromEntries(Object.entries(members).filter(([name]) => Object.hasOwn(ours, name)));
  return canonicalJson({ labels: written(labels), annotations: written(annotations), ...kept });
}
