/**
 * Corpus of manifests: one file per case, named after its rule. The expected finding is marked on its line: `#! MP101`.
 * A first line `#? access base complete path=NONE` sets the options; `base=NAME` is another base.
 */
import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { type LintedFiles, lintFiles } from '../../src/lint/lint.ts';
import type { LintOptions, RuleCode } from '../../src/lint/model.ts';

const GIVEN = new URL('./given/', import.meta.url);
export const ACCESS = parseAccess(readFileSync(new URL('access.yaml', GIVEN), 'utf8'), 'access.yaml');

/** Date within the validity of the corpus's suppressions. */
export const TODAY = Date.parse('2026-11-24T12:00:00Z');

export interface Case {
  /** Path below the folder of the corpus. */
  readonly name: string;
  /** Rule under test. */
  readonly code: RuleCode;
  readonly good: boolean;
  readonly text: string;
  /** `LINE CODE`, in order. */
  readonly expected: readonly string[];
  readonly options: LintOptions;
}

export const CASES = casesIn(new URL('./corpus/', import.meta.url));
/** Cases about entry points, in folders: exposure-corpus.test.ts. */
export const EXPOSURE_CASES = casesIn(new URL('./exposure-corpus/', import.meta.url));

/**
 * Reads the manifests of a folder and of the folders below it.
 * @param home URL that ends with a slash
 */
function casesIn(home: URL): readonly Case[] {
  return globSync('**/*.yaml', { cwd: fileURLToPath(home) })
    .toSorted()
    .map((name) => {
      const text = readFileSync(new URL(name, home), 'utf8');
      const file = basename(name);
      return {
        name,
        code: file.slice(0, 5) as RuleCode,
        good: file.slice(6).startsWith('good-'),
        text,
        expected: expectedIn(text),
        options: optionsIn(text),
      };
    });
}

export function lintCase({ name, text, options }: Case): LintedFiles {
  return lintFiles([{ name, text }], options);
}

/** Lists findings as `LINE CODE`, in order. */
export function linesOf({ findings }: LintedFiles): readonly string[] {
  return findings.map(({ place, code }) => `${place.line} ${code}`).toSorted(byLine);
}

function expectedIn(text: string): readonly string[] {
  return text
    .split('\n')
    .flatMap((line, index) => {
      const codes = /#! (.*)$/.exec(line)?.[1];
      return codes === undefined
        ? []
        : codes
            .trim()
            .split(/\s+/)
            .map((code) => `${index + 1} ${code}`);
    })
    .toSorted(byLine);
}

function byLine(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1);
}

function optionsIn(text: string): LintOptions {
  const words = (/^#\? (.*)$/m.exec(text)?.[1] ?? '').split(' ');
  const optionValue = (option: string) => words.find((word) => word.startsWith(`${option}=`))?.slice(option.length + 1);
  const given = optionValue('base') ?? (words.includes('base') ? 'base.yaml' : undefined);
  const base = given === undefined ? undefined : loadManifests(readFileSync(new URL(given, GIVEN)), given);
  const path = optionValue('path');
  return {
    now: TODAY,
    ...(words.includes('access') && { access: ACCESS }),
    ...(words.includes('complete') && { complete: true }),
    ...(base && { base: base.resources }),
    ...(path && { pathNormalization: path as NonNullable<LintOptions['pathNormalization']> }),
  };
}
