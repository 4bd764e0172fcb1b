/** Reads the linter's settings and baseline. Both file formats are documented in docs/lint.md. */
import { readYaml } from '@meshpass/access';
import { formatPlace } from '@meshpass/access/compile';
import { MeshpassError } from '@meshpass/identity';
import { didYouMean } from '@meshpass/istio';
import { z } from 'zod';
import { ALL_RULES } from '../lint.ts';
import { type Baseline, type LintSettings, type RuleCode, SEVERITIES } from '../model.ts';
import { isSuppressible } from '../suppression.ts';
import { isLowerSeverity } from './settings.ts';

const text = z.string().min(1).max(1024);
const CODES = ALL_RULES.map((rule) => rule.code);
const code = z.enum(CODES as [RuleCode, ...RuleCode[]]);
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
  const parsed = settingsSchema.safeParse(read.yaml.value ?? {});
  if (!parsed.success) {
    throw invalid(
      parsed.error.issues.flatMap((issue) => {
        if (issue.code === 'invalid_key')
          return [`${formatPlace(locate(issue.path, 'key'))} no rule has the code ${String(issue.path.at(-1))}`];
        if (issue.code !== 'unrecognized_keys')
          return [`${formatPlace(locate(issue.path, 'value'))} ${issue.path.join('.')}: ${issue.message}`];
        const known = KEYS.get(issue.path.filter((part) => typeof part === 'string').join('.')) ?? [];
        return issue.keys.map((key) => {
          const place = formatPlace(locate([...issue.path, key], 'key'));
          return issue.path.length === 1 && issue.path[0] === 'severities'
            ? `${place} no rule has the code ${key}`
            : `${place} unknown key "${key}"${didYouMean(key, known)}`;
        });
      }),
    );
  }
  const { severities, test_words, test_labels, entry_points } = parsed.data;
  const lower = ALL_RULES.filter(({ code, severity }) =>
    isLowerSeverity(severities[code]?.severity ?? severity, severity),
  );
  const refused = lower.flatMap(({ code, severity }) => {
    const place = formatPlace(locate(['severities', code], 'key'));
    if (!isSuppressible(code))
      return [`${place} ${code} reports faulty suppressions: its lowest severity is ${severity}`];
    if (severities[code]?.reason !== undefined) return [];
    return [
      `${place} ${code} needs a reason below ${severity}: {severity: ${severities[code]?.severity}, reason: WHY}`,
    ];
  });
  if (refused.length > 0) throw invalid(refused);
  return {
    file,
    severities: new Map(
      CODES.flatMap((code) => {
        const { severity, reason = '' } = severities[code] ?? {};
        if (severity === undefined) return [];
        const isBelow = lower.some((rule) => rule.code === code);
        return [[code, { severity, reason, isLower: isBelow, place: locate(['severities', code], 'key') }] as const];
      }),
    ),
    testWords: test_words,
    testLabels: test_labels,
    entryPoints: entry_points.map((one, index) => ({ ...one, place: locate(['entry_points', index], 'value') })),
  };
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
