/** Prints an exposure report as SARIF 2.1.0, the format for code scanning. */

import { pageUrl, plainText } from '@meshpass/identity';
import type { Location, ReportingDescriptor, Result } from 'sarif';
import { formatSarifLog, numberedFingerprint, physicalLocation, sarifName } from '../../sarif-log.ts';
import type { ExposureEntry } from '../list.ts';
import type { ExposureReport } from './report.ts';
import type { RuleWithoutUse } from './unused-rules.ts';
import { describeExposureEntry, describeLogCoverage } from './words.ts';

type RuleId = 'external-access' | 'internal-access' | 'unused-access';
type Level = 'warning' | 'note';

const RULES: Readonly<Record<RuleId, { readonly title: string; readonly level: Level; readonly score: string }>> = {
  'external-access': {
    title: 'A caller without an identity may reach a workload from the internet',
    level: 'warning',
    score: '5.0',
  },
  'internal-access': {
    title: 'A caller without an identity may reach a workload from a private network',
    level: 'note',
    score: '2.0',
  },
  'unused-access': {
    title: 'No line of the access logs uses an external way, a rule or a grant',
    level: 'note',
    score: '2.0',
  },
};
const IDS = Object.keys(RULES) as readonly RuleId[];
const PAGE = pageUrl('docs/policy/exposure.md');

/**
 * Prints an exposure report as SARIF. Open and unknown exposures are reported under the rules `external-access` and
 * `internal-access`, and unused ones under `unused-access`. Unknown exposures have the level `note`. Closed ones are
 * left out.
 * @example
 * ```ts
 * import { listExposures, printExposureSarif, reportOf } from '@meshpass/analysis/exposure';
 * const report = reportOf(listExposures([]), { objects: 0 });
 * JSON.parse(printExposureSarif(report)).runs[0].results; // => []
 * ```
 */
export function printExposureSarif({ external, internal, unused, notes }: ExposureReport): string {
  const seen = new Map<string, number>();
  const ofAccess = (rule: RuleId, ways: readonly ExposureEntry[]) =>
    ways
      .filter(({ verdict }) => verdict !== 'closed')
      .map((way) => toResult(rule, way, way.verdict === 'open' ? RULES[rule].level : 'note', seen));
  return formatSarifLog({
    rules: IDS.map(toRule),
    executionSuccessful: true,
    notifications: [...notes, ...(unused ? describeLogCoverage(unused) : [])].map((text) => ({
      descriptor: { id: 'note' },
      level: 'note' as const,
      message: { text },
    })),
    results: [
      ...ofAccess('external-access', external.ways),
      ...ofAccess('internal-access', internal.ways),
      ...(unused?.ways ?? []).map((way) => toResult('unused-access', way, 'note', seen)),
      ...(unused?.rules ?? []).filter(({ unknown }) => unknown === undefined).map((one) => toRuleResult(one, seen)),
    ],
  });
}

function toRule(id: RuleId): ReportingDescriptor {
  const { title, level, score } = RULES[id];
  return {
    id,
    name: sarifName(id),
    shortDescription: { text: `${title}.` },
    helpUri: PAGE,
    help: { text: `See ${PAGE}.` },
    defaultConfiguration: { level },
    properties: { tags: ['security', 'istio'], 'security-severity': score },
  };
}

function toRuleResult({ name, place }: RuleWithoutUse, seen: Map<string, number>): Result {
  const message = plainText(`No line of the access logs uses the ${name}.`);
  return resultOf('unused-access', 'note', message, { physicalLocation: physicalLocation(place) }, [name], seen);
}

function toResult(ruleId: RuleId, way: ExposureEntry, level: Level, seen: Map<string, number>): Result {
  const words = describeExposureEntry(way);
  const { kind, namespace, name } = way.object;
  const message =
    ruleId === 'unused-access'
      ? `No line of the access logs uses this way: ${words.calls} to ${words.destination} through ${words.entry}.`
      : [
          `${words.verdict}: ${words.calls} reaches ${words.destination} through ${words.entry}.`,
          `Identity at the entry point: ${words.identityAtEntry}.`,
          `Identity at the workload: ${words.identityAtWorkload} (enforced by ${words.enforcer}).`,
          `Witness request: ${words.witness}.`,
        ].join(' ');
  const location = {
    physicalLocation: physicalLocation(way.place),
    logicalLocations: [{ fullyQualifiedName: plainText(`${kind}/${namespace}/${name}`), kind: 'resource' }],
  };
  const parts = [kind, namespace, name, words.calls, words.entry, words.destination];
  return resultOf(ruleId, level, message, location, parts, seen);
}

/** @param parts the texts that identify the result among those of its rule */
function resultOf(
  ruleId: RuleId,
  level: Level,
  message: string,
  location: Location,
  parts: readonly string[],
  seen: Map<string, number>,
): Result {
  return {
    ruleId,
    ruleIndex: IDS.indexOf(ruleId),
    level,
    // Some viewers turn `[text](address)` into a link even in plain-text messages.
    message: { text: message.replaceAll('](', '] (') },
    locations: [location],
    partialFingerprints: { 'meshpass/v1': numberedFingerprint([ruleId, ...parts], seen) },
  };
}
