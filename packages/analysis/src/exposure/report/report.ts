/**
 * Builds a report about the paths into a cluster. Like AWS's Access Analyzer, it covers external, internal and unused
 * access.
 */

import type { ExposureEntry } from '../list.ts';
import type { UnusedAccess } from './unused.ts';

export interface ExposureReport {
  /** The exposures that may be reachable from the internet. */
  readonly external: Access;
  /** The exposures that are only reachable from a private network. */
  readonly internal: Access;
  /** The external exposures that do not appear in the access logs. Undefined if no logs were read. */
  readonly unused: UnusedAccess | undefined;
  /** Whether closed exposures are listed as well. */
  readonly isAll: boolean;
  /** The number of objects that were read. */
  readonly objects: number;
  /** Messages about assumptions, and about input that was not read. */
  readonly notes: readonly string[];
}

export interface Access {
  /** The exposures to list: open ones first, then unknown ones, then closed ones. */
  readonly ways: readonly ExposureEntry[];
  /** The number of exposures for each verdict, including those that are not listed. */
  readonly counts: Readonly<Record<ExposureEntry['verdict'], number>>;
}

export const VERDICTS = ['open', 'unknown', 'closed'] as const satisfies readonly ExposureEntry['verdict'][];

/** The title and description of each kind of access. */
export const ACCESS_HEADINGS = {
  external: { title: 'External access', about: 'ways that the internet may reach, as far as their settings show' },
  internal: { title: 'Internal access', about: 'ways that only a private network reaches' },
} as const;
export const UNUSED_TITLE = 'Unused access';

/**
 * Creates a report from a list of exposures.
 * @param ways the result of `listExposures`
 * @param options.isAll whether to list closed exposures as well
 * @example
 * ```ts
 * import { listExposures, reportOf } from '@meshpass/analysis/exposure';
 * import { loadManifests } from '@meshpass/istio';
 * const text = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {type: LoadBalancer, selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const ways = listExposures(loadManifests(text, 'orders.yaml').resources, { complete: true });
 * reportOf(ways, { objects: 1 }).external.counts; // => { open: 1, unknown: 0, closed: 0 }
 * ```
 */
export function reportOf(
  ways: readonly ExposureEntry[],
  {
    isAll = false,
    unused,
    objects,
    notes = [],
  }: Pick<ExposureReport, 'objects'> & Partial<Pick<ExposureReport, 'isAll' | 'unused' | 'notes'>>,
): ExposureReport {
  const accessOf = (reach: ExposureEntry['reach']): Access => {
    const some = ways.filter((way) => way.reach === reach);
    const of = Object.groupBy(some, ({ verdict }) => verdict);
    const listed = VERDICTS.filter((verdict) => isAll || verdict !== 'closed');
    return {
      ways: listed.flatMap((verdict) => of[verdict] ?? []),
      counts: { open: of.open?.length ?? 0, unknown: of.unknown?.length ?? 0, closed: of.closed?.length ?? 0 },
    };
  };
  return { external: accessOf('external'), internal: accessOf('internal'), unused, isAll, objects, notes };
}
