/** What a rule is, what it says, and what the reader gets: the nouns of the linter. */

import type { Access } from '@meshpass/access/compile';
import type { Place, Resource } from '@meshpass/istio';

/**
 * `error`: something is open that should not be, or a policy does not say what it seems to. `warning`: likely so, or open
 * only under a condition that the files do not show. `note`: worth knowing.
 */
export const SEVERITIES = ['note', 'warning', 'error'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** `MP` and three digits. Never renamed, never given to another rule. */
export type RuleCode = `MP${number}`;

/** What a rule says of itself; docs/lint.md has a section for each. */
export interface RuleText {
  readonly code: RuleCode;
  /** kebab-case, for people. */
  readonly name: string;
  /** The severity of most of its findings; a report may say another. */
  readonly severity: Severity;
  /** One line: what is wrong. */
  readonly title: string;
  /** What to do, in general. */
  readonly fix: string;
}

export interface Finding {
  readonly code: RuleCode;
  readonly name: string;
  readonly severity: Severity;
  readonly message: string;
  readonly fix: string;
  /** Address of the rule's page. */
  readonly page: string;
  readonly place: Place;
  readonly object: { readonly kind: string; readonly namespace: string; readonly name: string };
  /** The Helm template that the object was made of. */
  readonly template?: string;
}

/** A finding that somebody decided to live with, for a reason and until a day. */
export interface SuppressedFinding extends Finding {
  readonly suppressedBy: { readonly place: Place; readonly reason: string; readonly until: string };
}

export interface LintResult {
  /** By file, line and column. */
  readonly findings: readonly Finding[];
  readonly suppressed: readonly SuppressedFinding[];
  /** How many objects were looked at. */
  readonly objects: number;
}

export interface LintOptions {
  /** What is granted; without it, rules about grants are silent. */
  readonly access?: Access;
  /** The state to compare with: what it exposes already is not new. */
  readonly base?: readonly Resource[];
  /** Everything that is in the mesh is given (a live cluster), so that what is missing does not exist. */
  readonly complete?: boolean;
  /** Istio's root namespace. Default `istio-system`. */
  readonly rootNamespace?: string;
  /** DNS domain of the cluster. Default `cluster.local`. */
  readonly clusterDomain?: string;
  /** As `meshConfig.pathNormalization` says. Default `BASE`, Istio's own. */
  readonly pathNormalization?: 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';
  /** Now, for the expiry of suppressions: milliseconds since 1970. */
  readonly now: number;
}

/** Where the sections of the rules are, within the project. */
export const PAGE = 'docs/lint.md';
