/** Finds the paths into the cluster that a change opens. */

import { coversHost } from '@meshpass/istio';
import { coversMatch } from '../routes/text-match.ts';
import type { Exposure } from './exposure.ts';
import { type KnownMesh, openPassages, type Passage } from './identity.ts';

/** A mesh and all of its exposures, whether or not they are open. */
export interface ExposedMesh extends KnownMesh {
  readonly exposures: readonly Exposure[];
}

/**
 * Creates a predicate that recognizes new passages. A passage is new if anonymous callers could not make the same calls
 * to the same destination through the same entry point before the change.
 * @param base the mesh before the change
 */
export function createNewPassageTest(base: ExposedMesh): (exposure: Exposure, passage: Passage) => boolean {
  const exposed = base.exposures.map((one) => ({
    ...one,
    entries: openPassages(base, one).map(({ entry }) => entry),
  }));
  const before = Map.groupBy(exposed, keyOf);
  return (exposure, { entry }) =>
    !(before.get(keyOf(exposure)) ?? []).some(
      (old) =>
        includes(old, exposure) &&
        old.entries.some(
          ({ name, kind, internal }) =>
            name === entry.name && kind === entry.kind && (internal === undefined || entry.internal !== undefined),
        ),
    );
}

function keyOf({ destination, protocol }: Exposure): string {
  return `${protocol} ${destination.host} ${destination.subset ?? ''} ${destination.port ?? ''}`;
}

/** Checks whether the old exposure already allowed everything that the new one allows. */
function includes(old: Exposure, now: Exposure): boolean {
  const hosts = now.hosts.every((host) => old.hosts.some((one) => coversHost(one, host)));
  if (!hosts || old.matches.length === 0) return hosts;
  return now.matches.length > 0 && now.matches.every((match) => old.matches.some((one) => coversMatch(one, match)));
}
