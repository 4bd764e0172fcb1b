import { existsSync, writeFileSync } from 'node:fs';
import type { Access } from '@meshpass/access';
import {
  formatBaseline,
  type LintedFiles,
  type LintOptions,
  lintFiles,
  printGithub,
  printJson,
  printSarif,
  printText,
  SEVERITIES,
} from '@meshpass/analysis/lint';
import { MeshpassError } from '@meshpass/identity';
import { decodeText, loadManifests, type ManifestProblem } from '@meshpass/istio';
import { defineCommand } from '../../command/define.ts';
import { choice, list, type OptionsOf, text, toggle, variadicArgument } from '../../command/flag.ts';
import { EXIT, type ExitCode, hasColour, printErrorLines } from '../../command/outcome.ts';
import { namespace } from '../../command/shared-flags.ts';
import { readTextFile, withFlagName } from '../../input/files.ts';
import { type ManifestFile, readManifestFiles, requireInput } from '../../input/manifest-files.ts';

/** The rules file to read if `--rules` is not set. */
const RULES_FILE = 'meshpass-lint.yaml';

const args = { paths: variadicArgument('manifest files and directories; - for standard input') };
const flags = {
  kubeconfig: text('<file>', 'lint this live cluster, or the manifests against it'),
  namespace,
  access: text('<file>', 'access file, which lists granted services', { env: 'MESHPASS_ACCESS' }),
  base: list('<path>', 'manifests before the change, whose existing exposure does not count as new'),
  rules: text('<file>', 'severities by rule, test words and declared entry points', {
    defaultText: `${RULES_FILE}, if the working directory has it`,
  }),
  baseline: text('<file>', 'known findings, which are not reported again'),
  writeBaseline: toggle('write the current findings to the file of --baseline'),
  failOn: choice([...SEVERITIES, 'never'], 'lowest severity that fails', { value: '<severity>', default: 'warning' }),
  output: choice(['text', 'json', 'sarif', 'github'], 'output format', { value: '<format>', default: 'text' }),
};
type LintFlags = OptionsOf<typeof flags>;

export const command = defineCommand({
  about: 'Prints each finding with its object, file, line and rule URL.',
  args,
  flags,
  exitCodes: {
    0: 'no finding at or above --fail-on',
    1: 'a finding at or above --fail-on',
    2: 'invalid flags, or unreadable input',
    3: 'the cluster does not respond; try again',
  },
  env: { NO_COLOR: 'set to any value to disable colours' },
  examples: ['meshpass policy lint mesh/', 'helm template shop | meshpass policy lint -'],
  page: 'docs/lint.md',
  run: ({ paths, ...options }) => lint(paths, options),
});

/**
 * Lints the manifests.
 * @throws MeshpassError `usage`, `access_file_*`, `kubernetes_unavailable`
 */
async function lint(paths: readonly string[], flags: LintFlags): Promise<ExitCode> {
  if (flags.writeBaseline && flags.baseline === undefined)
    throw new MeshpassError('usage', 'Pass --baseline with --write-baseline: the file to write.');
  requireInput(paths, flags.kubeconfig);
  const given = await readManifestFiles(paths);
  const base = await readManifestFiles(flags.base);
  const before = base.files.map(({ name, text }) => loadManifests(text, name, flags.namespace));
  const leftOut = [...given.leftOut, ...base.leftOut];
  printErrorLines(...leftOut.map(({ path, why }) => `left out: ${path}: ${why}`));
  const read = await lintAll(
    given.files,
    {
      now: Date.now(),
      ...(flags.namespace !== undefined && { namespace: flags.namespace }),
      ...(flags.access !== undefined && { access: await readAccess(flags.access) }),
      ...(flags.base.length > 0 && {
        base: before.flatMap(({ resources }) => resources),
      }),
      ...(await readSettings(flags)),
    },
    flags.kubeconfig,
  );
  if (read.unplaced !== undefined) printErrorLines(`${read.unplaced} Pass --namespace if they belong to another.`);
  const linted = {
    ...read,
    problems: [...before.flatMap(({ problems }) => problems).filter(isUnread), ...read.problems],
    leftOut: leftOut.filter(({ mayHold }) => mayHold).map(({ path, why }) => ({ path, why })),
  };
  if (flags.writeBaseline && flags.baseline !== undefined) {
    writeFileSync(flags.baseline, formatBaseline(linted));
    printErrorLines(`Wrote the findings to ${flags.baseline}.`);
    return linted.problems.length > 0 ? EXIT.usage : EXIT.ok;
  }
  if (flags.output === 'text')
    for (const { code, place, message } of linted.problems)
      printErrorLines(`${place.file}:${place.line}:${place.column} error ${code} ${message}`);
  process.stdout.write(print(linted, given.files, flags.output));
  return exitCode(linted, flags.failOn);
}

async function lintAll(
  files: readonly ManifestFile[],
  options: LintOptions,
  kubeconfig: string | undefined,
): Promise<LintedFiles> {
  if (kubeconfig === undefined) return lintFiles(files, options);
  const { readCluster } = await import('../../input/cluster-manifests.ts');
  const { problems, ...cluster } = await readCluster(kubeconfig, { others: true });
  const linted = lintFiles(files, { ...options, complete: true }, cluster);
  return { ...linted, problems: [...problems, ...linted.problems] };
}

/** Whether the object could not be read at all. An object with an unknown field is still linted. */
function isUnread({ code }: ManifestProblem): boolean {
  return code !== 'manifest_unknown_field';
}

function print(linted: LintedFiles, files: readonly ManifestFile[], form: LintFlags['output']): string {
  switch (form) {
    case 'json':
      return printJson(linted);
    case 'sarif':
      return printSarif(linted);
    case 'github':
      return printGithub(linted);
    case 'text': {
      const named = new Set(linted.findings.map(({ place }) => place.file));
      const sources = new Map(
        files.filter(({ name }) => named.has(name)).map(({ name, text }) => [name, decodeText(text) ?? '']),
      );
      return printText(linted, { sources, colour: hasColour() });
    }
  }
}

function exitCode({ findings, problems }: LintedFiles, failOn: LintFlags['failOn']): ExitCode {
  if (problems.length > 0) return EXIT.usage;
  if (failOn === 'never') return EXIT.ok;
  const least = SEVERITIES.indexOf(failOn);
  return findings.some(({ severity }) => SEVERITIES.indexOf(severity) >= least) ? EXIT.failed : EXIT.ok;
}

/**
 * Reads the settings and the baseline, if they exist. Like the parser of the access file, their parser is loaded only
 * when it is needed. With `--write-baseline`, the existing baseline is ignored.
 * @throws MeshpassError `usage`, `config_invalid`
 */
async function readSettings(flags: LintFlags): Promise<Pick<LintOptions, 'settings' | 'baseline'>> {
  const rules = flags.rules ?? (existsSync(RULES_FILE) ? RULES_FILE : undefined);
  const baseline = flags.writeBaseline ? undefined : flags.baseline;
  if (rules === undefined && baseline === undefined) return {};
  const { readBaseline, readLintSettings } = await import('@meshpass/analysis/lint-settings');
  return {
    ...(rules !== undefined && { settings: readLintSettings(readTextFile(rules, '--rules'), rules) }),
    ...(baseline !== undefined && { baseline: readBaseline(readTextFile(baseline, '--baseline'), baseline) }),
  };
}

/**
 * Reads the access file. The parser is loaded only when it is needed: because it includes CEL, loading it takes longer
 * than linting most manifests.
 */
async function readAccess(file: string): Promise<Access> {
  const { loadAccess } = await import('@meshpass/access');
  return withFlagName('--access', () => loadAccess(file, { name: file }).access, 'usage');
}
