/**
 * Formats a SARIF 2.1.0 log with a single run, as expected by code scanning. Sources: OASIS Static Analysis Results
 * Interchange Format 2.1.0; GitHub, "SARIF support for code scanning".
 */

import { printableJson, sha256Hex, VERSION } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';
import type { Log, Notification, PhysicalLocation, ReportingDescriptor, Result } from 'sarif';

interface Run {
  readonly rules: ReportingDescriptor[];
  readonly executionSuccessful: boolean;
  /** Messages about the run itself, such as files that could not be read. */
  readonly notifications: Notification[];
  readonly results: Result[];
}

/** Formats a log that contains a single run of `meshpass`. */
export function formatSarifLog({ rules, executionSuccessful, notifications, results }: Run): string {
  const log: Log = {
    $schema: 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'meshpass', semanticVersion: VERSION, rules } },
        columnKind: 'utf16CodeUnits',
        invocations: [{ executionSuccessful, toolExecutionNotifications: notifications }],
        results,
      },
    ],
  };
  return `${printableJson(log)}\n`;
}

/** Converts a rule's name to its display name, for example `open-test-route` to `OpenTestRoute`. */
export function sarifName(name: string): string {
  return name.replaceAll(/(?:^|-)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/**
 * Creates a fingerprint from the parts of a result. Results with equal parts are numbered, so that each is unique.
 * @param seen the number of previous results for each set of parts, which is updated
 */
export function numberedFingerprint(parts: readonly string[], seen: Map<string, number>): string {
  const text = parts.join('\n');
  const nth = (seen.get(text) ?? 0) + 1;
  seen.set(text, nth);
  return `${sha256Hex(text).slice(0, 32)}:${nth}`;
}

/** Converts a position to a SARIF location. Objects from a cluster have no line numbers, so they get no region. */
export function physicalLocation({ file, line, column }: Place): PhysicalLocation {
  return {
    artifactLocation: { uri: uriOf(file) },
    ...(line > 0 && { region: { startLine: line, startColumn: Math.max(1, column) } }),
  };
}

/**
 * Returns a URI relative to the root of the checkout, which is the working directory in CI. Names that are not paths
 * are encoded in the same way.
 */
function uriOf(file: string): string {
  return file
    .replace(/^\.\//, '')
    .split(/[\\/]/)
    .map((part) => encodeURIComponent(part))
    .join('/');
}
