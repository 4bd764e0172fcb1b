/** Lints manifests. Each finding has a position, and explains the consequences and how to fix the problem. */

import {
  decodeText,
  describeUnplaced,
  identityOf,
  type KubeObject,
  loadManifests,
  type ManifestProblem,
  type Place,
  type Resource,
  withCreationTimes,
} from '@meshpass/istio';
import { compare } from '@meshpass/istio/members';
import { lintContext } from './context.ts';
import {
  type Finding,
  type LintOptions,
  type LintResult,
  type RuleCode,
  type RuleText,
  ruleUrl,
  type SuppressedFinding,
  type SuppressionMatcher,
} from './model.ts';
import type { Report } from './rule.ts';
import { RULES } from './rules.ts';
import { createBaselineMatcher } from './settings/baseline.ts';
import { createSettingsFilter } from './settings/settings.ts';
import { isSuppressible, SUPPRESSION_RULES, type Suppression, suppressionsIn, suppressionsOn } from './suppression.ts';
import { countUnreadKinds, type UnreadKind } from './unread-kinds.ts';

/** A file to lint, or standard input. */
export interface LintFile {
  readonly name: string;
  readonly text: string | Uint8Array;
}

export interface LintedFiles extends LintResult {
  /** Text that could not be loaded as manifests and was therefore not linted. */
  readonly problems: readonly ManifestProblem[];
  /** The kinds of objects that no rule checks, with the number of objects of each kind. */
  readonly notLookedAt: readonly UnreadKind[];
  /** A warning about objects without a namespace. Undefined if every object has one. */
  readonly unplaced: string | undefined;
  /** The files and directories that were not read, although they may contain objects. */
  readonly leftOut: readonly LeftOut[];
}

export interface LeftOut {
  readonly path: string;
  readonly why: string;
}

/** The objects that already exist in the mesh. */
export interface LintedCluster {
  readonly resources: readonly Resource[];
  /** Objects of kinds that Meshpass does not support. */
  readonly others?: readonly KubeObject[];
  /** The kinds of objects that could not be listed in the cluster. */
  readonly unlisted?: readonly UnreadKind[];
}

/** The finding for fields that the loader does not recognize. Rules still check the rest of the object. */
const UNKNOWN_FIELD: RuleText = {
  code: 'MP005',
  name: 'unknown-field',
  severity: 'error',
  title: 'A field does not exist, and the API server drops it',
  fix: 'Correct its name. The restriction that it was meant to add is not in force.',
};

/** All rules, including those about suppressions and unknown fields. They are used for documentation and SARIF. */
export const ALL_RULES: readonly RuleText[] = [...SUPPRESSION_RULES, UNKNOWN_FIELD, ...RULES];

const TEXT_OF = new Map(ALL_RULES.map((rule) => [rule.code, rule]));

/**
 * Loads files and lints them together, so that a VirtualService in one file can refer to a Gateway in another. Invalid
 * files do not cause an error, but are reported in `problems`.
 * @param cluster the objects that already exist in the mesh; an object in a file replaces the existing one with the
 *   same name
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
    const loaded = loadManifests(text, name, options.namespace);
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
    unplaced: describeUnplaced(resources),
    problems,
    notLookedAt: countUnreadKinds(all, others, cluster.unlisted),
  };
}

/**
 * Lints objects that have already been loaded, for example from a cluster.
 * @param before the findings that the loader reported
 * @param comments the suppressions that the loader found
 */
export function lint(
  resources: readonly Resource[],
  options: LintOptions,
  before: readonly Finding[] = [],
  comments: readonly Suppression[] = [],
): LintResult {
  const context = lintContext(resources, options);
  const found: Found[] = RULES.flatMap((rule) =>
    [...rule.check(context)].map((report) => ({ finding: toFinding(rule, report), on: report.on })),
  );
  const taken = new Set(found.map(({ finding }) => placeKey(finding.place)));
  // A finding by a rule that knows the effect of the unknown field is more helpful than the general one.
  const unknown = before.filter(({ place }) => !taken.has(placeKey(place))).map((finding) => ({ finding }));
  const suppressions = [...comments, ...suppressionsOn(resources, options.now)];
  const used = new Set<Suppression>();
  const settings = options.settings && createSettingsFilter(options.settings);
  const baseline = options.baseline && createBaselineMatcher(options.baseline);
  const findings: Finding[] = [];
  const suppressed: SuppressedFinding[] = [];
  const sort = ({ finding, on }: Found): void => {
    const by = acceptBy(suppressions, used, finding, on) ?? settings?.accept(finding);
    const graded = by ? finding : (settings?.grade(finding) ?? finding);
    const suppressedBy = by ?? baseline?.accept(graded);
    if (suppressedBy) suppressed.push({ ...graded, suppressedBy });
    else findings.push(graded);
  };
  [...found, ...unknown].forEach(sort);
  for (const one of suppressions) for (const fault of faultsOf(one, used)) sort({ finding: fault });
  return {
    findings: findings.sort(byPlace),
    suppressed: suppressed.sort(byPlace),
    gone: baseline?.gone() ?? [],
    settings: settings?.applied(),
    objects: resources.length,
  };
}

interface Found {
  readonly finding: Finding;
  readonly on?: KubeObject;
}

function acceptBy(
  suppressions: readonly Suppression[],
  used: Set<Suppression>,
  finding: Finding,
  on: KubeObject | undefined,
): ReturnType<SuppressionMatcher> {
  const by = suppressions.find((one) => !one.fault && one.codes.includes(finding.code) && one.reaches(finding, on));
  if (!by || !isSuppressible(finding.code)) return undefined;
  used.add(by);
  return { place: by.place, reason: by.reason, until: by.until };
}

function faultsOf(one: Suppression, used: ReadonlySet<Suppression>): readonly Finding[] {
  const fault = (code: RuleCode, message: string) => [finding(TEXT_OF.get(code)!, one.place, message, undefined)];
  const strange = one.codes.filter((code) => !TEXT_OF.has(code as RuleCode));
  if (one.fault) return fault(one.fault.code, one.fault.message);
  if (strange.length > 0) return fault('MP003', `unknown rule ${strange.join(', ')}.`);
  return used.has(one) ? [] : fault('MP004', `no finding of ${one.codes.join(', ')} exists here.`);
}

function toFinding(rule: RuleText, report: Report): Finding {
  const { on, path, part, message, severity } = report;
  const place = on.origin.at(path, part);
  return {
    ...finding(rule, place, message, on),
    ...(severity && { severity }),
    ...(on.origin.template !== undefined && { template: on.origin.template }),
  };
}

function finding(rule: RuleText, place: Place, message: string, on: KubeObject | undefined): Finding {
  const { code, name, severity, fix } = rule;
  const kind = on?.kind === 'KubernetesGateway' ? 'Gateway' : (on?.kind ?? '');
  const object = { kind, namespace: on?.metadata.namespace ?? '', name: on?.metadata.name ?? '' };
  return { code, name, severity, message, fix, page: ruleUrl(code), place, object };
}

function unknownField({ place, message }: ManifestProblem): Finding {
  return finding(UNKNOWN_FIELD, place, `${message}. The API server drops it.`, undefined);
}

function placeKey({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`;
}

function byPlace(a: Finding, b: Finding): number {
  const [one, other] = [a.place, b.place];
  return compare(one.file, other.file) || one.line - other.line || one.column - other.column || compare(a.code, b.code);
}
