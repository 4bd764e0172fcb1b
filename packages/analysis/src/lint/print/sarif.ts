/**
 * Prints findings as SARIF 2.1.0, the format for code scanning. Sources: OASIS Static Analysis Results Interchange
 * Format 2.1.0; GitHub, "SARIF support for code scanning".
 */

import type { Place } from '@meshpass/istio';
import type { Notification, ReportingDescriptor, Result } from 'sarif';
import { formatSarifLog, numberedFingerprint, physicalLocation, sarifName } from '../../sarif-log.ts';
import { ALL_RULES, type LintedFiles } from '../lint.ts';
import { type Finding, ruleUrl, type Severity, type SuppressedFinding } from '../model.ts';
import { describeAcceptance } from '../suppression.ts';
import { listRemarks } from './remarks.ts';

/** The security severities as GitHub interprets them: scores above 9 are critical, above 7 high, and above 4 medium. */
const SCORES = { error: '8.0', warning: '5.0', note: '2.0' } as const;

/**
 * Prints findings as SARIF 2.1.0, for code scanning.
 * @example
 * ```ts
 * import { lintFiles, printSarif } from '@meshpass/analysis/lint';
 * const text = `apiVersion: security.istio.io/v1
 * kind: AuthorizationPolicy
 * metadata: {name: orders, namespace: shop}
 * spec: {rules: [{to: [{operation: {methods: [get]}}]}]}`;
 * const linted = lintFiles([{ name: 'orders.yaml', text }], { now: Date.now() });
 * JSON.parse(printSarif(linted)).runs[0].results[0].ruleId; // => 'MP312'
 * ```
 */
export function printSarif(linted: LintedFiles): string {
  const { findings, suppressed, problems } = linted;
  const indexes = new Map(ALL_RULES.map(({ code }, index) => [code, index]));
  const seen = new Map<string, number>();
  const results = [...findings, ...suppressed].map((finding) => toResult(finding, indexes.get(finding.code)!, seen));
  return formatSarifLog({
    rules: ALL_RULES.map(toRule),
    executionSuccessful: problems.length === 0,
    notifications: [
      ...problems.map(({ code, place, message }) => notification(code, 'error', place, message)),
      ...listRemarks(linted).map(({ id, severity, place, sentence }) => notification(id, severity, place, sentence)),
    ],
    results,
  });
}

/** Creates a notification about the run. Code scanning does not show notifications as findings. */
function notification(id: string, level: Severity, place: Place | undefined, text: string): Notification {
  return {
    descriptor: { id },
    level,
    message: { text },
    ...(place && { locations: [{ physicalLocation: physicalLocation(place) }] }),
  };
}

function toRule({ code, name, severity, title, fix }: (typeof ALL_RULES)[number]): ReportingDescriptor {
  return {
    id: code,
    name: sarifName(name),
    shortDescription: { text: `${title}.` },
    fullDescription: { text: `${title}. ${fix}` },
    helpUri: ruleUrl(code),
    help: { text: `${fix} See ${ruleUrl(code)}.`, markdown: `${fix}\n\nSee [${code}](${ruleUrl(code)}).` },
    defaultConfiguration: { level: severity },
    properties: { tags: ['security', 'istio'], 'security-severity': SCORES[severity] },
  };
}

function toResult(finding: Finding | SuppressedFinding, ruleIndex: number, seen: Map<string, number>): Result {
  const { code, severity, message, fix, place, object } = finding;
  return {
    ruleId: code,
    ruleIndex,
    level: severity,
    message: { text: `${message} Fix: ${fix}` },
    locations: [
      {
        physicalLocation: physicalLocation(place),
        ...(object.kind !== '' && {
          logicalLocations: [
            { fullyQualifiedName: `${object.kind}/${object.namespace}/${object.name}`, kind: 'resource' },
          ],
        }),
      },
    ],
    partialFingerprints: { 'meshpass/v1': fingerprint(finding, seen) },
    ...('suppressedBy' in finding && {
      suppressions: [
        {
          kind: finding.suppressedBy.until === undefined ? 'external' : 'inSource',
          justification: describeAcceptance(finding),
        },
      ],
    }),
  };
}

/**
 * Identifies a finding by its rule, object and message, and by its index among equal findings. The fingerprint stays
 * the same if lines are added above the finding.
 */
function fingerprint({ code, object, message, place }: Finding, seen: Map<string, number>): string {
  const file = object.kind === '' ? place.file : '';
  return numberedFingerprint([code, object.kind, object.namespace, object.name, file, message], seen);
}
