/** Defines the types that the linter uses for rules, findings and options. */

import type { Access } from '@meshpass/access/compile';
import { pageUrl } from '@meshpass/identity';
import type { KubeObject, Place, Resource } from '@meshpass/istio';
import type { Vocabulary } from './exposure/test-words.ts';

/**
 * How severe a finding is. `error` means that something is open that should not be, or that a policy does not do what
 * it appears to do. `warning` means that one of these is likely, or that it depends on something that the files do not
 * show. `note` means that the finding is worth knowing about.
 */
export const SEVERITIES = ['note', 'warning', 'error'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** The code of a rule: `MP` and three digits. Codes are never changed or reused. */
export type RuleCode = `MP${number}`;

/** The description of a rule. Each rule has its own section in docs/lint.md. */
export interface RuleText {
  readonly code: RuleCode;
  /** The rule's display name in kebab case. */
  readonly name: string;
  /** The default severity of the rule's findings. Individual reports can override it. */
  readonly severity: Severity;
  /** A description of the problem in one line. */
  readonly title: string;
  /** General advice on how to fix the problem. */
  readonly fix: string;
}

export interface Finding {
  readonly code: RuleCode;
  readonly name: string;
  readonly severity: Severity;
  readonly message: string;
  readonly fix: string;
  /** The URL of the rule's documentation. */
  readonly page: string;
  readonly place: Place;
  readonly object: { readonly kind: string; readonly namespace: string; readonly name: string };
  /** The Helm template that generated the object. */
  readonly template?: string;
}

/** Formats the object of a finding as `KIND NAMESPACE/NAME`. Returns an empty string if the finding has no object. */
export function objectName({ object: { kind, namespace, name } }: Pick<Finding, 'object'>): string {
  return namespace === '' ? `${kind} ${name}`.trim() : `${kind} ${namespace}/${name}`;
}

/**
 * A finding that was accepted for a stated reason. It is accepted by a suppression with an end date, by a declared
 * entry point with an owner, by disabling the rule, or by a baseline.
 */
export interface SuppressedFinding extends Finding {
  readonly suppressedBy: {
    readonly place: Place;
    readonly reason: string;
    readonly until?: string;
    readonly owner?: string;
  };
}

/** Returns the reason why a finding is accepted, or undefined if it is not accepted. */
export type SuppressionMatcher = (finding: Finding, on?: KubeObject) => SuppressedFinding['suppressedBy'] | undefined;

/** An entry point that was left open on purpose. */
export interface DeclaredEntryPoint {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly reason: string;
  /** The person or team that is responsible for the entry point. */
  readonly owner: string;
  readonly place: Place;
}

/** A severity that overrides the severity of all findings of a rule. */
export interface RuleSeverity {
  /** The new severity. If it is `off`, the findings are suppressed. */
  readonly severity: Severity | 'off';
  /** Whether the new severity is lower than the default severity of the rule. */
  readonly isLower: boolean;
  /** The reason why the severity was lowered. Empty if it was not lowered. */
  readonly reason: string;
  readonly place: Place;
}

export interface LintSettings {
  /** The name of the settings file, which is shown in reports. */
  readonly file: string;
  readonly severities: ReadonlyMap<RuleCode, RuleSeverity>;
  readonly testWords: Vocabulary;
  /** The labels whose values describe the purpose of an environment. */
  readonly testLabels: Vocabulary;
  readonly entryPoints: readonly DeclaredEntryPoint[];
}

/**
 * The effect of the settings on a run. All output formats include it, because the change under review may also modify
 * the settings.
 */
export interface AppliedSettings {
  readonly file: string;
  /** The rules that are disabled or have a lower severity, with the number of findings that this affects. */
  readonly weakened: readonly {
    readonly code: RuleCode;
    readonly severity: Severity | 'off';
    readonly reason: string;
    readonly findings: number;
  }[];
  /** The words and labels that the settings removed from the vocabulary for test routes. */
  readonly removed: readonly string[];
}

/** A finding that is already known. */
export interface BaselineEntry {
  readonly code: string;
  /** The object in the form `KIND NAMESPACE/NAME`, or the file if the finding has no object. */
  readonly object: string;
  readonly message: string;
}

export interface Baseline {
  readonly file: string;
  readonly findings: readonly BaselineEntry[];
}

export interface LintResult {
  /** The findings, sorted by file, line and column. */
  readonly findings: readonly Finding[];
  readonly suppressed: readonly SuppressedFinding[];
  /** The baseline entries that no longer match any finding. */
  readonly gone: readonly BaselineEntry[];
  /** The effect of the settings on this run. Undefined if there are no settings. */
  readonly settings: AppliedSettings | undefined;
  /** The number of objects that were linted. */
  readonly objects: number;
}

export interface LintOptions {
  /** The access file. Without it, rules about grants report no findings. */
  readonly access?: Access;
  /** The state to compare with. Exposures that already existed there are not reported as new. */
  readonly base?: readonly Resource[];
  /**
   * Whether the resources describe the whole mesh, as in a live cluster. If so, objects that are missing do not exist.
   */
  readonly complete?: boolean;
  /** The namespace for objects whose manifest does not specify one. Defaults to `default`. */
  readonly namespace?: string;
  /** The root namespace of Istio. Defaults to `istio-system`. */
  readonly rootNamespace?: string;
  /** The DNS domain of the cluster. Defaults to `cluster.local`. */
  readonly clusterDomain?: string;
  /** The setting `meshConfig.pathNormalization`. Defaults to `BASE`, which is also Istio's default. */
  readonly pathNormalization?: 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';
  readonly settings?: LintSettings;
  /** Known findings, which are not reported again. */
  readonly baseline?: Baseline;
  /** The current time in Unix milliseconds, which determines whether suppressions have expired. */
  readonly now: number;
}

/** Returns the URL of a rule's section in the documentation. */
export function ruleUrl(code: string): string {
  return pageUrl(`docs/lint.md#${code.toLowerCase()}`);
}
