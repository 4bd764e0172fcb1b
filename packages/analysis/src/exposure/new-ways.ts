/** Finds the ways into the cluster that a change opens. */

import { coversHost } from '@meshpass/istio';
import { coversMatch } from '../routes/text-match.ts';
import type { Exposure } from './exposure.ts';
import { type KnownMesh, openPassages, type Passage } from './identity.ts';

/** Mesh with all of its exposures, open or not. */
export interface ExposedMesh extends KnownMesh {
  readonly exposures: readonly Exposure[];
}

/**
 * Creates a test for new passages. A passage is new if anonymous callers could not previously make the same calls
 * through the same entry point to the same destination.
 * @param base state before the change
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

/** Whether the old exposure already included everything that the new one allows. */
function includes(old: Exposure, now: Exposure): boolean {
  const hosts = now.hosts.every((host) => old.hosts.some((one) => coversHost(one, host)));
  if (!hosts || old.matches.length === 0) return hosts;
  return now.matches.length > 0 && now.matches.every((match) => old.matches.some((one) => coversMatch(one, match)));
}
