/** Types of the linter: rules, findings and options. */

import type { Access } from '@meshpass/access/compile';
import { pageUrl } from '@meshpass/identity/documentation/url';
import type { KubeObject, Place, Resource } from '@meshpass/istio';
import type { Vocabulary } from './exposure/test-words.ts';

/**
 * `error`: something is open that should not be, or a policy does not mean what it seems to. `warning`: likely so, or
 * open only under a condition that the files do not show. `note`: worth knowing.
 */
export const SEVERITIES = ['note', 'warning', 'error'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** `MP` and three digits. Never renamed or reused. */
export type RuleCode = `MP${number}`;

/** Describes a rule. Each rule has a section in docs/lint.md. */
export interface RuleText {
  readonly code: RuleCode;
  /** Display name in kebab-case. */
  readonly name: string;
  /** Default severity of findings; a report may override it. */
  readonly severity: Severity;
  /** Problem, in one line. */
  readonly title: string;
  /** General fix. */
  readonly fix: string;
}

export interface Finding {
  readonly code: RuleCode;
  readonly name: string;
  readonly severity: Severity;
  readonly message: string;
  readonly fix: string;
  /** URL of the rule's documentation. */
  readonly page: string;
  readonly place: Place;
  readonly object: { readonly kind: string; readonly namespace: string; readonly name: string };
  /** Helm template of the object. */
  readonly template?: string;
}

/**
 * Finding that was accepted with a reason: by a suppression until a date, by a declared entry point with an owner, by a
 * rule that is off, or by a baseline.
 */
export interface SuppressedFinding extends Finding {
  readonly suppressedBy: {
    readonly place: Place;
    readonly reason: string;
    readonly until?: string;
    readonly owner?: string;
  };
}

/** Returns why a finding is accepted; undefined if it is not. */
export type SuppressionMatcher = (finding: Finding, on?: KubeObject) => SuppressedFinding['suppressedBy'] | undefined;

/** Entry point that is open on purpose. */
export interface DeclaredEntryPoint {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly reason: string;
  /** Person or team that answers for it. */
  readonly owner: string;
  readonly place: Place;
}

/** Severity that replaces the one of every finding of a rule. */
export interface RuleSeverity {
  /** `off` suppresses the findings. */
  readonly severity: Severity | 'off';
  /** Whether it is lower than the rule's own. */
  readonly isLower: boolean;
  /** Present if the severity is lower. */
  readonly reason: string;
  readonly place: Place;
}

export interface LintSettings {
  /** File of the settings, for reports. */
  readonly file: string;
  readonly severities: ReadonlyMap<RuleCode, RuleSeverity>;
  readonly testWords: Vocabulary;
  /** Labels whose values show what an environment is for. */
  readonly testLabels: Vocabulary;
  readonly entryPoints: readonly DeclaredEntryPoint[];
}

/** Effect of settings on a run. Every output shows it, because a change under review may bring the settings. */
export interface AppliedSettings {
  readonly file: string;
  /** Rules that are off or lowered, with the number of findings that are suppressed or lowered. */
  readonly weakened: readonly {
    readonly code: RuleCode;
    readonly severity: Severity | 'off';
    readonly reason: string;
    readonly findings: number;
  }[];
  /** Words and labels that no longer show a test route. */
  readonly removed: readonly string[];
}

/** Known finding. */
export interface BaselineEntry {
  readonly code: string;
  /** `KIND NAMESPACE/NAME`, or the file of a finding without an object. */
  readonly object: string;
  readonly message: string;
}

export interface Baseline {
  readonly file: string;
  readonly findings: readonly BaselineEntry[];
}

export interface LintResult {
  /** Sorted by file, line and column. */
  readonly findings: readonly Finding[];
  readonly suppressed: readonly SuppressedFinding[];
  /** Entries of the baseline that match no finding any longer. */
  readonly gone: readonly BaselineEntry[];
  /** Undefined without settings. */
  readonly settings: AppliedSettings | undefined;
  /** Number of linted objects. */
  readonly objects: number;
}

export interface LintOptions {
  /** Access file. Without it, rules about grants report nothing. */
  readonly access?: Access;
  /** State to compare with: its existing exposures are not new. */
  readonly base?: readonly Resource[];
  /** Whether the resources cover the whole mesh (a live cluster), so that a missing object does not exist. */
  readonly complete?: boolean;
  /** Namespace of objects in files without one; defaults to `default`. */
  readonly namespace?: string;
  /** Istio's root namespace; defaults to `istio-system`. */
  readonly rootNamespace?: string;
  /** DNS domain of the cluster; defaults to `cluster.local`. */
  readonly clusterDomain?: string;
  /** `meshConfig.pathNormalization`; defaults to `BASE`, Istio's own default. */
  readonly pathNormalization?: 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';
  readonly settings?: LintSettings;
  /** Known findings, which are not reported again. */
  readonly baseline?: Baseline;
  /** Current time for the expiry of suppressions, Unix ms. */
  readonly now: number;
}

/** Returns the URL of a rule's documentation section. */
export function ruleUrl(code: string): string {
  return pageUrl(`docs/lint.md#${code.toLowerCase()}`);
}
