/** The linter: manifests to findings, each with its place, what becomes of it, and what to do. */

import {
  decodeText,
  identityOf,
  type KubeObject,
  loadManifests,
  type ManifestProblem,
  type Place,
  type Resource,
  withCreationTimes,
} from '@meshpass/istio';
import { lintContext } from './context.ts';
import {
  type Finding,
  type LintOptions,
  type LintResult,
  PAGE,
  type RuleCode,
  type RuleText,
  type SuppressedFinding,
} from './model.ts';
import type { Report } from './rule.ts';
import { RULES } from './rules.ts';
import { isSuppressible, SUPPRESSION_RULES, type Suppression, suppressionsIn, suppressionsOn } from './suppression.ts';
import { type UnreadKind, unreadKinds } from './unread-kinds.ts';

/** A file, or what was given on stdin. */
export interface LintFile {
  readonly name: string;
  readonly text: string | Uint8Array;
}

export interface LintedFiles extends LintResult {
  /** What could not be read as manifests: what is in there was not looked at. */
  readonly problems: readonly ManifestProblem[];
  /** Kinds that were given and that no rule reads, with how many objects there are of each. */
  readonly notLookedAt: readonly UnreadKind[];
  /** Files and directories that may hold objects and were not read. */
  readonly leftOut: readonly LeftOut[];
}

export interface LeftOut {
  readonly path: string;
  readonly why: string;
}

/** Objects that are in the mesh already. */
export interface LintedCluster {
  readonly resources: readonly Resource[];
  /** Of kinds that are not understood. */
  readonly others?: readonly KubeObject[];
  /** Kinds that could not be listed. */
  readonly unlisted?: readonly UnreadKind[];
}

/** Found while reading; the rest of the object is looked at all the same. */
const UNKNOWN_FIELD: RuleText = {
  code: 'MP005',
  name: 'unknown-field',
  severity: 'error',
  title: 'A field does not exist, and the API server drops it',
  fix: 'Correct its name. The restriction that it was meant to add is not in force.',
};

/** Every rule there is, for documentation and for SARIF. */
export const ALL_RULES: readonly RuleText[] = [...SUPPRESSION_RULES, UNKNOWN_FIELD, ...RULES];

const TEXT_OF = new Map(ALL_RULES.map((rule) => [rule.code, rule]));

/**
 * Reads files and lints what is in them together: a Gateway in one file is known to a VirtualService in another.
 * Never throws for what the files say.
 * @param cluster objects that are in the mesh already; one of the same name in a file takes its place
 * @example
 * ```ts
 * import { lintFiles } from '@meshpass/analysis/lint';
 * const text = `apiVersion: security.istio.io/v1
 * kind: AuthorizationPolicy
 * metadata: {name: orders, namespace: shop}
 * spec: {rules: [{to: [{operation: {methods: [get]}}]}]}`;
 * const linted = lintFiles([{ name: 'orders.yaml', text }], { now: Date.now() });
 * linted.findings.map(({ code, place }) => [code, place.line]); // => [['MP312', 4]]
 * ```
 */
export function lintFiles(
  files: readonly LintFile[],
  options: LintOptions,
  cluster: LintedCluster = { resources: [] },
): LintedFiles {
  const others: KubeObject[] = [...(cluster.others ?? [])];
  const resources: Resource[] = [];
  const problems: ManifestProblem[] = [];
  const unknown: Finding[] = [];
  const suppressions: Suppression[] = [];
  for (const { name, text } of files) {
    const loaded = loadManifests(text, name);
    for (const one of loaded.resources) resources.push(one);
    for (const one of loaded.others) others.push(one);
    for (const problem of loaded.problems) {
      if (problem.code === 'manifest_unknown_field') unknown.push(unknownField(problem));
      else problems.push(problem);
    }
    const content = typeof text === 'string' ? text : (decodeText(text) ?? '');
    suppressions.push(...suppressionsIn(content, name, options.now));
  }
  const given = new Set(resources.map(identityOf));
  const standing = cluster.resources.filter((one) => !given.has(identityOf(one)));
  const all = [...withCreationTimes(resources, cluster.resources), ...standing];
  return {
    ...lint(all, options, unknown, suppressions),
    leftOut: [],
    ...{ problems, notLookedAt: unreadKinds(all, others, cluster.unlisted) },
  };
}

/**
 * Lints objects that are at hand, as a cluster gives them.
 * @param before findings of whoever read them
 * @param comments suppressions of whoever read them
 */
export function lint(
  resources: readonly Resource[],
  options: LintOptions,
  before: readonly Finding[] = [],
  comments: readonly Suppression[] = [],
): LintResult {
  const context = lintContext(resources, options);
  const found: { readonly finding: Finding; readonly on: KubeObject | undefined }[] = [];
  const taken = new Set<string>();
  for (const rule of RULES) {
    for (const report of rule.check(context)) {
      const finding = toFinding(rule, report);
      taken.add(placeKey(finding.place));
      found.push({ finding, on: report.on });
    }
  }
  // A rule that knows what a wrong field does says it better.
  for (const finding of before) if (!taken.has(placeKey(finding.place))) found.push({ finding, on: undefined });
  return { ...suppress(found, [...comments, ...suppressionsOn(resources, options.now)]), objects: resources.length };
}

function suppress(
  found: readonly { readonly finding: Finding; readonly on: KubeObject | undefined }[],
  suppressions: readonly Suppression[],
): Omit<LintResult, 'objects'> {
  const findings: Finding[] = [];
  const suppressed: SuppressedFinding[] = [];
  const used = new Set<Suppression>();
  for (const { finding, on } of found) {
    const by = suppressions.find((one) => !one.fault && one.codes.includes(finding.code) && one.reaches(finding, on));
    if (by && isSuppressible(finding.code)) {
      used.add(by);
      suppressed.push({ ...finding, suppressedBy: { place: by.place, reason: by.reason, until: by.until } });
    } else findings.push(finding);
  }
  for (const one of suppressions) {
    const say = (code: RuleCode, message: string) =>
      findings.push(finding(TEXT_OF.get(code)!, one.place, message, undefined));
    const strange = one.codes.filter((code) => !TEXT_OF.has(code as RuleCode));
    if (one.fault) say(one.fault.code, one.fault.message);
    else if (strange.length > 0) say('MP003', `there is no rule ${strange.join(', ')}.`);
    else if (!used.has(one)) say('MP004', `nothing here is a finding of ${one.codes.join(', ')}.`);
  }
  return { findings: findings.sort(byPlace), suppressed: suppressed.sort(byPlace) };
}

function toFinding(rule: RuleText, report: Report): Finding {
  const { on, path, part, message, severity, fix } = report;
  const place = on.origin.at(path, part);
  return {
    ...finding(rule, place, message, on),
    ...(severity && { severity }),
    ...(fix !== undefined && { fix }),
    ...(on.origin.template !== undefined && { template: on.origin.template }),
  };
}

function finding(rule: RuleText, place: Place, message: string, on: KubeObject | undefined): Finding {
  const { code, name, severity, fix } = rule;
  const kind = on?.kind === 'KubernetesGateway' ? 'Gateway' : (on?.kind ?? '');
  const object = { kind, namespace: on?.metadata.namespace ?? '', name: on?.metadata.name ?? '' };
  return { code, name, severity, message, fix, page: `${PAGE}#${code.toLowerCase()}`, place, object };
}

function unknownField({ place, message }: ManifestProblem): Finding {
  return finding(UNKNOWN_FIELD, place, `${message}. The API server drops it.`, undefined);
}

function placeKey({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`;
}

function byPlace(a: Finding, b: Finding): number {
  return (
    (a.place.file < b.place.file ? -1 : a.place.file > b.place.file ? 1 : 0) ||
    a.place.line - b.place.line ||
    a.place.column - b.place.column ||
    (a.code < b.code ? -1 : 1)
  );
}
