/** Ways that a change opens: those of one state that the state before did not have. */

import { coversHost } from '@meshpass/istio';
import { coversMatch } from '../routes/text-match.ts';
import type { Exposure } from './exposure.ts';
import { type KnownMesh, openPassages, type Passage } from './identity.ts';

/** State with its ways, open or not. */
export interface ExposedMesh extends KnownMesh {
  readonly exposures: readonly Exposure[];
}

/**
 * Returns a test of whether a passage is new: callers without an identity did not get through the same entry point to
 * the same destination with the same calls.
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
