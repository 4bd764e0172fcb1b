/**
 * Prints findings as GitHub Actions annotations. Source: the sections about setting an error, warning or notice message
 * in "Workflow commands for GitHub Actions".
 */
import { plainText } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';
import type { LintedFiles } from '../lint.ts';
import { listRemarks, remarkTitle } from './remarks.ts';

const COMMANDS = { error: 'error', warning: 'warning', note: 'notice' } as const;

/**
 * Prints findings as workflow commands for GitHub Actions, which annotate the lines of a pull request.
 * @example
 * ```ts
 * import { lintFiles, printGithub } from '@meshpass/analysis/lint';
 * const text = `apiVersion: security.istio.io/v1
 * kind: AuthorizationPolicy
 * metadata: {name: orders, namespace: shop}
 * spec: {rules: [{to: [{operation: {methods: [get]}}]}]}`;
 * const linted = lintFiles([{ name: 'orders.yaml', text }], { now: Date.now() });
 * printGithub(linted).startsWith('::error file=orders.yaml,line=4'); // => true
 * ```
 */
export function printGithub(linted: LintedFiles): string {
  const { findings, gone, problems } = linted;
  return [
    ...problems.map(({ code, place, message }) => command('error', place, code, message)),
    ...findings.map(({ severity, place, code, name, message, fix, page }) =>
      command(COMMANDS[severity], place, `${code} ${name}`, message, `fix: ${fix}`, `see ${page}`),
    ),
    ...listRemarks(linted).map((one) => command(COMMANDS[one.severity], one.place, remarkTitle(one), one.sentence)),
    ...(gone.length > 0 ? [command('notice', undefined, 'gone', describeGone(gone))] : []),
  ].join('');
}

function describeGone(gone: LintedFiles['gone']): string {
  const names = new Set(gone.map(({ code, object }) => `${code} ${object}`));
  return `No longer found: ${listed([...names], 30)}. Write the baseline again.`;
}

function command(name: string, place: Place | undefined, title: string, ...lines: readonly string[]): string {
  const { file, line = 0, column } = place ?? {};
  const where = { ...(file !== undefined && { file }), ...(line > 0 && { line, col: column }), title };
  const properties = Object.entries(where).map(([key, value]) => `${key}=${property(String(value))}`);
  return `::${name} ${properties.join(',')}::${lines.map(data).join('%0A')}\n`;
}

/** Escapes text in a workflow command, so that the authors of manifests cannot inject commands of their own. */
function data(text: string): string {
  return plainText(text).replaceAll('%', '%25');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
