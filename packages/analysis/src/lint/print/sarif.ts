/**
 * Prints findings as SARIF 2.1.0, for code scanning. Source: OASIS Static Analysis Results Interchange Format 2.1.0;
 * GitHub, "SARIF support for code scanning".
 */

import { sha256Hex } from '@meshpass/identity/hash';
import { VERSION } from '@meshpass/identity/version';
import type { Place } from '@meshpass/istio';
import type { Log, Notification, PhysicalLocation, ReportingDescriptor, Result } from 'sarif';
import { ALL_RULES, type LintedFiles } from '../lint.ts';
import { type Finding, ruleUrl, type Severity, type SuppressedFinding } from '../model.ts';
import { describeAcceptance } from '../suppression.ts';
import { describeUnread, type UnreadKind } from '../unread-kinds.ts';

const LEVELS = { error: 'error', warning: 'warning', note: 'note' } as const satisfies Record<Severity, string>;
/** Security severity for GitHub: above 9 is critical, above 7 high, above 4 medium. */
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
export function printSarif({ findings, suppressed, problems, notLookedAt, leftOut }: LintedFiles): string {
  const indexes = new Map(ALL_RULES.map(({ code }, index) => [code, index]));
  const seen = new Map<string, number>();
  const results = [...findings, ...suppressed].map((finding) => toResult(finding, indexes.get(finding.code)!, seen));
  const log: Log = {
    $schema: 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'meshpass', semanticVersion: VERSION, rules: ALL_RULES.map(toRule) } },
        columnKind: 'utf16CodeUnits',
        invocations: [
          {
            executionSuccessful: problems.length === 0,
            toolExecutionNotifications: [
              ...problems.map(({ code, place, message }) => ({
                descriptor: { id: code },
                level: 'error' as const,
                message: { text: message },
                locations: [{ physicalLocation: physical(place) }],
              })),
              ...leftOut.map(({ path, why }) => ({
                descriptor: { id: 'left-out' },
                level: 'warning' as const,
                message: { text: `${path} was left out: ${why}.` },
                locations: [{ physicalLocation: physical({ file: path, line: 0, column: 0 }) }],
              })),
              ...unread(notLookedAt),
            ],
          },
        ],
        results,
      },
    ],
  };
  return `${JSON.stringify(log, null, 2)}\n`;
}

/** Notifications about kinds without a rule. Code scanning shows them with the run, not as findings. */
function unread(kinds: readonly UnreadKind[]): readonly Notification[] {
  if (kinds.length === 0) return [];
  const message = { text: `No rule reads ${describeUnread(kinds)}.` };
  return [{ descriptor: { id: 'not-looked-at' }, level: 'note', message, properties: { kinds } }];
}

function toRule({ code, name, severity, title, fix }: (typeof ALL_RULES)[number]): ReportingDescriptor {
  return {
    id: code,
    name: name.replaceAll(/(?:^|-)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
    shortDescription: { text: `${title}.` },
    fullDescription: { text: `${title}. ${fix}` },
    helpUri: ruleUrl(code),
    help: { text: `${fix} See ${ruleUrl(code)}.`, markdown: `${fix}\n\nSee [${code}](${ruleUrl(code)}).` },
    defaultConfiguration: { level: LEVELS[severity] },
    properties: { tags: ['security', 'istio'], 'security-severity': SCORES[severity] },
  };
}

function toResult(finding: Finding | SuppressedFinding, ruleIndex: number, seen: Map<string, number>): Result {
  const { code, severity, message, fix, place, object } = finding;
  return {
    ruleId: code,
    ruleIndex,
    level: LEVELS[severity],
    message: { text: `${message} Fix: ${fix}` },
    locations: [
      {
        physicalLocation: physical(place),
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

/** Identifies a finding by rule, object, message and index among equal findings, even if lines are added above it. */
function fingerprint({ code, object, message, place }: Finding, seen: Map<string, number>): string {
  const what = [code, object.kind, object.namespace, object.name, object.kind === '' ? place.file : '', message].join(
    '\n',
  );
  const nth = (seen.get(what) ?? 0) + 1;
  seen.set(what, nth);
  return `${sha256Hex(what).slice(0, 32)}:${nth}`;
}

/** Objects from a cluster have no line number. */
function physical({ file, line, column }: Place): PhysicalLocation {
  return {
    artifactLocation: { uri: uriOf(file) },
    ...(line > 0 && { region: { startLine: line, startColumn: Math.max(1, column) } }),
  };
}

/** URI relative to the checkout root, which CI runs in. A name that is not a path is encoded like a path. */
function uriOf(file: string): string {
  return file
    .replace(/^\.\//, '')
    .split(/[\\/]/)
    .map((part) => encodeURIComponent(part))
    .join('/');
}
