/**
 * Prints findings as GitHub Actions annotations. Source: "Workflow commands for GitHub Actions", setting an error,
 * warning or notice message.
 */
import { plainText } from '@meshpass/identity/text';
import type { Place } from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';
import type { LintedFiles } from '../lint.ts';
import type { AppliedSettings } from '../model.ts';
import { describeSettings } from '../settings/settings.ts';
import { describeUnread } from '../unread-kinds.ts';

const COMMANDS = { error: 'error', warning: 'warning', note: 'notice' } as const;

/**
 * Prints findings as workflow commands of GitHub Actions, which annotate the lines of a pull request.
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
export function printGithub({ findings, gone, settings, problems, notLookedAt, leftOut }: LintedFiles): string {
  return [
    ...problems.map(({ code, place, message }) => command('error', place, code, message)),
    ...findings.map(({ severity, place, code, name, message, fix, page }) =>
      command(COMMANDS[severity], place, `${code} ${name}`, message, `fix: ${fix}`, `see ${page}`),
    ),
    ...leftOut.map(({ path, why }) =>
      command('warning', { file: path, line: 0, column: 0 }, 'left out', `${path} was left out: ${why}.`),
    ),
    ...(settings
      ? [
          command(
            levelOf(settings),
            { file: settings.file, line: 1, column: 1 },
            'settings',
            `${describeSettings(settings)}.`,
          ),
        ]
      : []),
    ...(gone.length > 0
      ? [
          `::notice title=gone::${data(`No longer found: ${listed([...new Set(gone.map(nameOf))], 30)}. Write the baseline again.`)}\n`,
        ]
      : []),
    ...(notLookedAt.length > 0
      ? [`::notice title=not looked at::${data(`No rule reads ${describeUnread(notLookedAt)}.`)}\n`]
      : []),
  ].join('');
}

function levelOf({ weakened, removed }: AppliedSettings): 'warning' | 'notice' {
  return weakened.length + removed.length > 0 ? 'warning' : 'notice';
}

function nameOf({ code, object }: LintedFiles['gone'][number]): string {
  return `${code} ${object}`;
}

function command(name: string, { file, line, column }: Place, title: string, ...lines: readonly string[]): string {
  const where = { file, ...(line > 0 && { line, col: column }), title };
  const properties = Object.entries(where).map(([key, value]) => `${key}=${property(String(value))}`);
  return `::${name} ${properties.join(',')}::${lines.map(data).join('%0A')}\n`;
}

/** Escapes a line of text, so that manifest authors cannot inject workflow commands. */
function data(text: string): string {
  return plainText(text).replaceAll('%', '%25');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
