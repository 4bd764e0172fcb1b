/**
 * SARIF 2.1.0 log with a single run, for code scanning. Sources: OASIS Static Analysis Results Interchange Format
 * 2.1.0; GitHub, "SARIF support for code scanning".
 */

import { sha256Hex } from '@meshpass/identity/hash';
import { printableJson } from '@meshpass/identity/text';
import { VERSION } from '@meshpass/identity/version';
import type { Place } from '@meshpass/istio';
import type { Log, Notification, PhysicalLocation, ReportingDescriptor, Result } from 'sarif';

interface Run {
  readonly rules: ReportingDescriptor[];
  readonly executionSuccessful: boolean;
  /** Messages about the run itself, such as unreadable files. */
  readonly notifications: Notification[];
  readonly results: Result[];
}

/** Formats a log with a single run of `meshpass`. */
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

/** Returns a rule's display name: `OpenTestRoute` for `open-test-route`. */
export function sarifName(name: string): string {
  return name.replaceAll(/(?:^|-)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/**
 * Creates a fingerprint from a result's parts and its index among equal results.
 * @param seen number of previous results with the same parts
 */
export function numberedFingerprint(parts: readonly string[], seen: Map<string, number>): string {
  const text = parts.join('\n');
  const nth = (seen.get(text) ?? 0) + 1;
  seen.set(text, nth);
  return `${sha256Hex(text).slice(0, 32)}:${nth}`;
}

/** Converts a position. Objects from a cluster do not have line numbers. */
export function physicalLocation({ file, line, column }: Place): PhysicalLocation {
  return {
    artifactLocation: { uri: uriOf(file) },
    ...(line > 0 && { region: { startLine: line, startColumn: Math.max(1, column) } }),
  };
}

/**
 * Returns a URI relative to the root of the checkout, which is the working directory in CI. A name that is not a path
 * is encoded like a path.
 */
function uriOf(file: string): string {
  return file
    .replace(/^\.\//, '')
    .split(/[\\/]/)
    .map((part) => encodeURIComponent(part))
    .join('/');
}
