/** Prints an exposure report as JSON. */

import { printableJson } from '@meshpass/identity';
import type { ExposureEntry } from '../list.ts';
import type { Access, ExposureReport } from './report.ts';

/**
 * Prints an exposure report as a single JSON document. `external` and `internal` each contain the number of `open`,
 * `unknown` and `closed` exposures, and list them under `ways`. `unused` is present if logs were read. `objects` and
 * `notes` follow. Future versions may add fields, but will not remove any.
 * @example
 * ```ts
 * import { listExposures, printExposureJson, reportOf } from '@meshpass/analysis/exposure';
 * const report = reportOf(listExposures([]), { objects: 0 });
 * JSON.parse(printExposureJson(report)).external; // => { open: 0, unknown: 0, closed: 0, ways: [] }
 * ```
 */
export function printExposureJson({ external, internal, unused, objects, notes }: ExposureReport): string {
  const report = {
    external: accessJson(external),
    internal: accessJson(internal),
    ...(unused && { unused: { ...unused, ways: unused.ways.map(wayJson) } }),
    objects,
    notes,
  };
  return `${printableJson(report)}\n`;
}

function accessJson({ ways, counts }: Access): object {
  return { ...counts, ways: ways.map(wayJson) };
}

function wayJson(way: ExposureEntry): object {
  const { entry, reach, internal, protocol, hosts, calls, destination, enforcer } = way;
  const { kind, name, place, ports, description } = entry;
  return {
    verdict: way.verdict,
    unknown: way.unknown,
    reach,
    internal,
    entry: { kind, name, description, ports, place },
    protocol,
    hosts,
    calls,
    destination,
    identity_at_entry: identityJson(way.identityAtEntry),
    identity_at_workload: identityJson(way.identityAtWorkload),
    enforcer,
    witness: way.witness,
    object: way.object,
    place: way.place,
  };
}

function identityJson({ state, reason }: ExposureEntry['identityAtEntry']): object {
  return { state, reason };
}
