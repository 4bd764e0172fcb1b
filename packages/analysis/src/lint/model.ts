/** Types that the linter uses: rules, findings and options. */

import type { Access } from '@meshpass/access/compile';
import { pageUrl } from '@meshpass/identity/documentation/url';
import type { KubeObject, Place, Resource } from '@meshpass/istio';
import type { Vocabulary } from './exposure/test-words.ts';

/**
 * `error`: something is open that should not be, or a policy does not mean what it appears to mean. `warning`: one of
 * these is likely, or depends on a condition that the files do not show. `note`: worth knowing.
 */
export const SEVERITIES = ['note', 'warning', 'error'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** `MP` and three digits. Codes are never renamed or reused. */
export type RuleCode = `MP${number}`;

/** Describes a rule. Each rule has a section in docs/lint.md. */
export interface RuleText {
  readonly code: RuleCode;
  /** Display name in kebab case. */
  readonly name: string;
  /** Default severity of findings; a report may override it. */
  readonly severity: Severity;
  /** The problem, in one line. */
  readonly title: string;
  /** How to fix the problem in general. */
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
  /** Helm template that produced the object. */
  readonly template?: string;
}

/**
 * Finding that was accepted for a stated reason: by a suppression with an end date, by a declared entry point with an
 * owner, by a disabled rule, or by a baseline.
 */
export interface SuppressedFinding extends Finding {
  readonly suppressedBy: {
    readonly place: Place;
    readonly reason: string;
    readonly until?: string;
    readonly owner?: string;
  };
}

/** Returns why a finding is accepted, or undefined if it is not. */
export type SuppressionMatcher = (finding: Finding, on?: KubeObject) => SuppressedFinding['suppressedBy'] | undefined;

/** Entry point that is intentionally open. */
export interface DeclaredEntryPoint {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly reason: string;
  /** Person or team responsible for the entry point. */
  readonly owner: string;
  readonly place: Place;
}

/** Severity that replaces the severity of all findings of a rule. */
export interface RuleSeverity {
  /** New severity; `off` suppresses the findings. */
  readonly severity: Severity | 'off';
  /** Whether the new severity is lower than the rule's own. */
  readonly isLower: boolean;
  /** Reason for the lower severity; empty if it is not lower. */
  readonly reason: string;
  readonly place: Place;
}

export interface LintSettings {
  /** Name of the settings file, for reports. */
  readonly file: string;
  readonly severities: ReadonlyMap<RuleCode, RuleSeverity>;
  readonly testWords: Vocabulary;
  /** Labels whose values state the purpose of an environment. */
  readonly testLabels: Vocabulary;
  readonly entryPoints: readonly DeclaredEntryPoint[];
}

/**
 * Effect of the settings on a run. Every output format includes it, because the change under review may also change the
 * settings.
 */
export interface AppliedSettings {
  readonly file: string;
  /** Rules that are disabled or have a lower severity, with the number of findings affected. */
  readonly weakened: readonly {
    readonly code: RuleCode;
    readonly severity: Severity | 'off';
    readonly reason: string;
    readonly findings: number;
  }[];
  /** Words and labels that no longer indicate a test route. */
  readonly removed: readonly string[];
}

/** Finding that is already known. */
export interface BaselineEntry {
  readonly code: string;
  /** `KIND NAMESPACE/NAME`, or the file if the finding has no object. */
  readonly object: string;
  readonly message: string;
}

export interface Baseline {
  readonly file: string;
  readonly findings: readonly BaselineEntry[];
}

export interface LintResult {
  /** Findings, sorted by file, line and column. */
  readonly findings: readonly Finding[];
  readonly suppressed: readonly SuppressedFinding[];
  /** Baseline entries that no longer match any finding. */
  readonly gone: readonly BaselineEntry[];
  /** Effect of the settings; undefined if there are none. */
  readonly settings: AppliedSettings | undefined;
  /** Number of linted objects. */
  readonly objects: number;
}

export interface LintOptions {
  /** Access file. Without it, rules about grants do not report anything. */
  readonly access?: Access;
  /** State to compare with. Exposures that already exist there are not new. */
  readonly base?: readonly Resource[];
  /**
   * Whether the resources cover the whole mesh (a live cluster). If so, an object that is not among them does not
   * exist.
   */
  readonly complete?: boolean;
  /** Namespace for objects in files that have none; defaults to `default`. */
  readonly namespace?: string;
  /** Istio's root namespace; defaults to `istio-system`. */
  readonly rootNamespace?: string;
  /** DNS domain of the cluster; defaults to `cluster.local`. */
  readonly clusterDomain?: string;
  /** `meshConfig.pathNormalization`; defaults to `BASE`, Istio's own default. */
  readonly pathNormalization?: 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';
  readonly settings?: LintSettings;
  /** Known findings. They are not reported again. */
  readonly baseline?: Baseline;
  /** Current time in Unix ms, used to check whether suppressions have expired. */
  readonly now: number;
}

/** Returns the URL of a rule's documentation section. */
export function ruleUrl(code: string): string {
  return pageUrl(`docs/lint.md#${code.toLowerCase()}`);
}
