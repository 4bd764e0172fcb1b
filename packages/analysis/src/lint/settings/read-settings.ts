/** Reads the linter's settings and baseline. Both file formats are documented in docs/lint.md. */
import { readYaml } from '@meshpass/access';
import { formatPlace } from '@meshpass/access/compile';
import { MeshpassError } from '@meshpass/identity';
import { didYouMean } from '@meshpass/istio';
import { z } from 'zod';
import { ALL_RULES } from '../lint.ts';
import { type Baseline, type LintSettings, type RuleCode, type RuleSeverity, SEVERITIES } from '../model.ts';
import { isSuppressible } from '../suppression.ts';
import { isLowerSeverity } from './settings.ts';

const text = z.string().min(1).max(1024);
const code = z.enum(ALL_RULES.map((rule) => rule.code));
const vocabulary = z
  .strictObject({ add: z.array(text).max(1000).default([]), remove: z.array(text).max(1000).default([]) })
  .default({ add: [], remove: [] });
const reason = text.min(8, 'expected a reason of at least 8 characters');
const entryPoint = z.strictObject({
  kind: text,
  namespace: z.string().max(253).default(''),
  name: text,
  reason,
  owner: text,
});

/**
 * The severity of a rule, or an object that also contains a reason. The reason is required if the severity is lower
 * than the rule's default.
 */
const ruleSeverity = z.preprocess(
  (value) => (typeof value === 'string' ? { severity: value } : value),
  z.strictObject({ severity: z.enum([...SEVERITIES, 'off']), reason: reason.optional() }),
);

const settingsSchema = z.strictObject({
  severities: z.partialRecord(code, ruleSeverity).default({}),
  test_words: vocabulary,
  test_labels: vocabulary,
  entry_points: z.array(entryPoint).max(10_000).default([]),
});

/** The allowed keys of each mapping, by its path without list indexes. They are suggested when a key is misspelled. */
const KEYS = new Map<string, readonly string[]>([
  ['', Object.keys(settingsSchema.shape)],
  ['test_words', ['add', 'remove']],
  ['test_labels', ['add', 'remove']],
  ['entry_points', Object.keys(entryPoint.shape)],
]);

/**
 * Reads the settings of the linter.
 * @param content the settings as YAML
 * @param file the file name to use in messages
 * @throws MeshpassError `config_invalid` listing every problem with its FILE:LINE:COLUMN
 * @example
 * ```ts
 * import { readLintSettings } from '@meshpass/analysis/lint-settings';
 * const text = 'severities: {MP202: {severity: off, reason: HTTP stays inside the office}}';
 * const settings = readLintSettings(text, 'meshpass-lint.yaml');
 * settings.severities.get('MP202')!.severity; // => 'off'
 * ```
 */
export function readLintSettings(content: string, file: string): LintSettings {
  const read = readYaml(content, file);
  if ('problems' in read) throw invalid(read.problems.map(({ place, message }) => `${formatPlace(place)} ${message}`));
  const { locate } = read.yaml;
  const at: PlaceText = (path, part) => formatPlace(locate(path, part));
  const parsed = settingsSchema.safeParse(read.yaml.value ?? {});
  if (!parsed.success) throw invalid(parsed.error.issues.flatMap((issue) => describeIssue(issue, at)));
  const { severities, test_words, test_labels, entry_points } = parsed.data;
  const changed = new Map<RuleCode, RuleSeverity>();
  const refused: string[] = [];
  for (const rule of ALL_RULES) {
    const { severity, reason = '' } = severities[rule.code] ?? {};
    if (severity === undefined) continue;
    const place = locate(['severities', rule.code], 'key');
    const isLower = isLowerSeverity(severity, rule.severity);
    changed.set(rule.code, { severity, reason, isLower, place });
    const refuse = (why: string) => refused.push(`${formatPlace(place)} ${rule.code} ${why}`);
    if (isLower && !isSuppressible(rule.code))
      refuse(`reports faulty suppressions: its lowest severity is ${rule.severity}`);
    else if (isLower && reason === '')
      refuse(`needs a reason below ${rule.severity}: {severity: ${severity}, reason: WHY}`);
  }
  if (refused.length > 0) throw invalid(refused);
  return {
    file,
    severities: changed,
    testWords: test_words,
    testLabels: test_labels,
    entryPoints: entry_points.map((one, index) => ({ ...one, place: locate(['entry_points', index], 'value') })),
  };
}

/** Returns the position of the key or the value at a path as FILE:LINE:COLUMN. */
type PlaceText = (path: readonly PropertyKey[], part: 'key' | 'value') => string;

function describeIssue(issue: z.core.$ZodIssue, at: PlaceText): readonly string[] {
  const { path } = issue;
  if (issue.code !== 'unrecognized_keys') return [`${at(path, 'value')} ${path.join('.')}: ${issue.message}`];
  const known = KEYS.get(path.filter((part) => typeof part === 'string').join('.')) ?? [];
  return issue.keys.map((key) => {
    const why = path[0] === 'severities' && path.length === 1 ? `no rule has the code ${key}` : undefined;
    return `${at([...path, key], 'key')} ${why ?? `unknown key "${key}"${didYouMean(key, known)}`}`;
  });
}

const baselineSchema = z.strictObject({
  findings: z.array(z.strictObject({ code: z.string(), object: z.string(), message: z.string() })),
});

/**
 * Reads a baseline, which contains the findings that are already known.
 * @param content the baseline as JSON, in the format that `formatBaseline` writes
 * @param file the file name to use in messages
 * @throws MeshpassError `config_invalid`
 * @example
 * ```ts
 * import { readBaseline } from '@meshpass/analysis/lint-settings';
 * readBaseline('{"findings": []}', 'baseline.json').findings; // => []
 * ```
 */
export function readBaseline(content: string, file: string): Baseline {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (cause) {
    throw new MeshpassError('config_invalid', `${file} is not JSON. Write the baseline again.`, { cause });
  }
  const parsed = baselineSchema.safeParse(value);
  if (parsed.success) return { file, ...parsed.data };
  throw invalid(parsed.error.issues.map(({ path, message }) => `${file}: ${path.join('.')}: ${message}`));
}

function invalid(lines: readonly string[]): MeshpassError {
  return new MeshpassError('config_invalid', lines.join('\n'));
}
