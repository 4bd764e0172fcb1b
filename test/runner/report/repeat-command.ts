/** The command line that repeats one test. */

export interface Repeatable {
  readonly project: string;
  /** Path from the root of the repository. */
  readonly file: string;
  /** Full name of a test, or of a suite. Absent: the whole file. */
  readonly name?: string;
  readonly kind?: 'test' | 'suite';
  /** Variables that the run was started with and that select what a test does. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Returns a shell command that runs only this test.
 * @example repeatCommand({ project: 'unit', file: 'a.test.ts', name: "x > y's" })
 *   // npx vitest run --project unit a.test.ts -t '^x > y'\''s$'
 */
export function repeatCommand({ project, file, name, kind = 'test', env = {} }: Repeatable): string {
  const variables = Object.entries(env).map(([key, value]) => `${key}=${shellQuote(value)}`);
  const pattern = name === undefined ? [] : ['-t', `^${escapeRegExp(name)}${kind === 'suite' ? ' > ' : '$'}`];
  const projects = project === '' ? [] : ['--project', project];
  return [...variables, ...['npx', 'vitest', 'run', ...projects, file, ...pattern].map(shellQuote)].join(' ');
}

/** Quotes a word for a POSIX shell, if it needs that. */
export function shellQuote(word: string): string {
  return /^[\w@%+:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Escapes a text for a regular expression. Unlike `RegExp.escape`, it leaves spaces and letters readable. */
export function escapeRegExp(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}
