/** Parses the text of an access file and its includes into `Access`, or throws a single error with all problems. */

import { posix } from 'node:path';
import type { Place } from '@meshpass/istio';
import type { z } from 'zod';
import { teamOf } from '../authorize/who.ts';
import type { Access, Grant } from '../model.ts';
import { type AccessFileProblem, accessFileError, formatPlace, problemAt } from '../problem.ts';
import { accessSchema, includedSchema, type SchemaOptions } from '../schema/access-file.ts';
import { readExpression } from '../schema/expression.ts';
import { accessJsonSchema, includedJsonSchema } from '../schema/json-schema.ts';
import { checkReferences, repeated } from './check-references.ts';
import { describeIssues } from './describe-issues.ts';
import { MAX_YAML_TOKENS, readYaml, type YamlBudget, type YamlFile } from './read-yaml.ts';
import { toGrants, toSettings } from './to-access.ts';

export interface ParseOptions extends SchemaOptions {
  /** Reads an included file. If absent, files with includes are rejected. */
  readonly include?: ReadIncluded;
}

/**
 * Parses an access file. The file is either accepted or rejected as a whole.
 * @param text the text of the main file in YAML 1.2, at most 1 MiB
 * @param file the file name for messages and annotations, such as `access.yaml`. Included files are in the directory of
 *   this file or below it
 * @throws MeshpassError `access_file_*`. The message has a line `FILE:LINE:COLUMN problem` for each problem, and
 *   `detail.problems` contains the same problems as AccessFileProblem[]
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * access.grants.map(({ name, to }) => [name, to[0]!.service, to[0]!.port]); // => [['dev', 'orders', 80]]
 * ```
 */
export function parseAccess(text: string, file: string, options: ParseOptions = {}): Access {
  const budgets = { yaml: { pieces: MAX_YAML_TOKENS }, overBudget: createExpressionsBudget() };
  const first = readDocument(text, file, budgets, accessSchema(options), () => accessJsonSchema(options));
  if ('problems' in first) throw accessFileError(first.problems);
  const { document, yaml } = first;
  const tree = new IncludeTree({ path: baseName(file), text }, options.include ?? (() => ({ problem: NOT_HERE })));
  const named = (path: string) => file.slice(0, file.length - baseName(file).length) + path;
  const grants = toGrants(document, yaml);
  const problems: AccessFileProblem[] = [];
  /** @param chain the files that led here, from the main file to the one that contains these includes */
  const readIncluded = (include: readonly string[] = [], from: YamlFile, chain: readonly string[]): void => {
    for (const [index, wanted] of include.entries()) {
      const opened = tree.open(wanted, chain, from.locate(['include', index], 'value'));
      if (!('text' in opened)) {
        problems.push(opened);
        continue;
      }
      const read = readDocument(opened.text, named(opened.path), budgets, includedSchema(), includedJsonSchema);
      if ('problems' in read) {
        problems.push(...read.problems.map(explainFirst));
        continue;
      }
      grants.push(...toGrants(read.document, read.yaml));
      readIncluded(read.document.include, read.yaml, [...chain, opened.path]);
    }
  };
  readIncluded(document.include, yaml, [baseName(file)]);
  const access: Access = {
    file,
    ...(tree.files.length > 1 && { files: tree.files.map(named) }),
    ...toSettings(document, yaml),
    grants,
  };
  const issuerPlaces = new Map(
    access.trust.issuers.map(({ name }) => [name, yaml.locate(['trust', 'issuers', name], 'key')]),
  );
  problems.push(...checkGrants(grants), ...checkReferences(access, issuerPlaces));
  if (problems.length > 0) throw accessFileError(problems);
  return access;
}

/**
 * Lists the teams that an access file mentions, so that GitHub can be asked for their members. The names are `org/slug`
 * or `org/#ID`, in lower case, sorted and unique.
 * @example
 * ```ts
 * import { parseAccess, teamsMentioned } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{team: acme/Payments}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * teamsMentioned(access); // => ['acme/payments']
 * ```
 */
export function teamsMentioned(access: Access): readonly string[] {
  return mentioned(access, teamOf);
}

/**
 * Lists the teams whose members an access file denies access. GitHub has to confirm that a user is not a member before
 * such a denial can be ruled out. The names are in lower case, sorted and unique.
 * @example
 * ```ts
 * import { parseAccess, teamsDenied } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {except: [{team: acme/interns, team_id: 7}], who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * teamsDenied(access); // => ['acme/#7']
 * ```
 */
export function teamsDenied(access: Access): readonly string[] {
  const denials = [...(access.deny ?? []), ...access.grants.flatMap(({ except }) => except ?? [])];
  return [...new Set(denials.flatMap((one) => teamOf(one) ?? []))].sort();
}

/**
 * Lists the organization roles that an access file mentions, so that GitHub can be asked who has them. They have the
 * form `org/admin` or `org/member`, and are in lower case, sorted and unique.
 * @example
 * ```ts
 * import { parseAccess, rolesMentioned } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{role: acme/admin}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * rolesMentioned(access); // => ['acme/admin']
 * ```
 */
export function rolesMentioned(access: Access): readonly string[] {
  return mentioned(access, ({ role }) => role);
}

/**
 * The maximum number of grants in all files combined. Each grant adds a namespace to the mesh and a policy to every
 * workload.
 */
const MAX_GRANTS = 1_000;
const NOT_HERE = 'cannot be read here: only one file was given';

function mentioned(access: Access, of: (who: Grant['who'][number]) => string | undefined): readonly string[] {
  // Emergency access depends on the memberships in the session. The memberships of approvers and reviewers are queried
  // when they answer a request.
  const entries = access.grants.flatMap(({ who, approval }) => [...who, ...(approval?.emergency?.who ?? [])]);
  const all = entries.flatMap((entry) => of(entry) ?? []);
  return [...new Set(all)].sort();
}

/** The limits that all files of one access file share. */
interface Budgets {
  readonly yaml: YamlBudget;
  readonly overBudget: ReturnType<typeof createExpressionsBudget>;
}

/** Explains that a key of an included file is only allowed in the main file. */
function explainFirst(problem: AccessFileProblem): AccessFileProblem {
  const key = Object.keys(accessSchema().shape).find((name) => problem.message.startsWith(`unknown key "${name}"`));
  if (problem.code !== 'access_file_unknown_key' || key === undefined) return problem;
  const instead = key === 'deny' ? ', or add "except" to each grant of this file' : '';
  return { ...problem, message: `only the first file may have "${key}": move it there${instead}` };
}

function readDocument<T extends z.ZodType>(
  text: string,
  file: string,
  { yaml, overBudget }: Budgets,
  schema: T,
  jsonSchema: () => Parameters<typeof describeIssues>[2],
): { readonly document: z.output<T>; readonly yaml: YamlFile } | { readonly problems: readonly AccessFileProblem[] } {
  const read = readYaml(text, file, yaml);
  if ('problems' in read) return read;
  const problems = overBudget(read.yaml);
  if (problems.length > 0) return { problems };
  const result = schema.safeParse(read.yaml.value);
  if (result.success) return { document: result.data, yaml: read.yaml };
  return { problems: describeIssues(result.error.issues, read.yaml, jsonSchema()) };
}

/**
 * Checks the grants of all files together. Within a single file, the YAML reader and the schema already find these
 * problems.
 */
function checkGrants(grants: readonly Grant[]): readonly AccessFileProblem[] {
  const problems = repeated(
    grants,
    ({ name }) => name,
    ({ name, place }, earlier) =>
      problemAt(place, `the grant "${name}" is already defined at ${formatPlace(earlier.place)}`),
  );
  const beyond = grants[MAX_GRANTS];
  return beyond ? [...problems, problemAt(beyond.place, `more than ${MAX_GRANTS} grants across all files`)] : problems;
}

function baseName(file: string): string {
  return file.slice(file.lastIndexOf('/') + 1);
}

// Limits the total size of the expressions in an access file and its includes, before any of them is compiled.

/**
 * The maximum number of characters plus regular expression instructions. Compiling this many takes at most a third of a
 * second and 50 MB.
 */
const MAX_EXPRESSIONS = 100_000;

/** Creates a counter for the expressions of an access file. All of its files share the counter. */
function createExpressionsBudget(): (yaml: YamlFile) => readonly AccessFileProblem[] {
  let left = MAX_EXPRESSIONS;
  return (yaml) => {
    for (const [path, text] of expressionsIn(yaml.value, [])) {
      // Charge for the text before parsing it, because parsing is the slow part.
      left -= text.length;
      const read = left < 0 ? undefined : readExpression(text);
      if (read && 'value' in read) left -= read.value.size - text.length;
      if (left < 0) return [{ code: 'access_file_expression', place: yaml.locate(path, 'value'), message: TOO_MUCH }];
    }
    return [];
  };
}

const TOO_MUCH =
  `this expression pushes the total for all files above ${MAX_EXPRESSIONS} characters and matches() steps: shorten the ` +
  '{n} repetitions in matches(), or use claims instead of expressions';

/** Finds the value of every `when` key, in all places where the schema might allow one. */
function* expressionsIn(value: unknown, path: readonly PropertyKey[]): Generator<[readonly PropertyKey[], string]> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    if (key === 'when' && typeof member === 'string') yield [[...path, key], member];
    else yield* expressionsIn(member, [...path, key]);
  }
}

// Includes combine several files into one access file. Their paths are relative to the including file and must stay
// inside the directory of the main file. Each file is read only once.

/** The maximum depth of includes, not counting the main file. */
const MAX_INCLUDE_DEPTH = 4;
export const MAX_FILES = 100;
/** The maximum combined size of all files, in bytes. */
const MAX_TOTAL_BYTES = 1024 * 1024;

/**
 * Reads an included file.
 * @param path the normalized path, relative to the directory of the main file and never outside of it
 * @returns the text, or the reason why it cannot be read
 */
export type ReadIncluded = (path: string) => { readonly text: string } | { readonly problem: string };

interface Included {
  readonly path: string;
  readonly text: string;
}

/** The files that have been read so far for one access file. */
class IncludeTree {
  readonly #read: ReadIncluded;
  readonly #seen = new Map<string, Place | undefined>();
  #bytes: number;

  constructor(first: Included, read: ReadIncluded) {
    this.#read = read;
    this.#seen.set(first.path, undefined);
    this.#bytes = Buffer.byteLength(first.text);
  }

  get files(): readonly string[] {
    return [...this.#seen.keys()];
  }

  /**
   * Opens an included file.
   * @param wanted the path as it is written in the file
   * @param chain the files that include each other, starting with the main file
   * @param place the place of the entry that includes the file
   */
  open(wanted: string, chain: readonly string[], place: Place): Included | AccessFileProblem {
    const problem = (message: string) => problemAt(place, message);
    const refusal = whyNoPath(wanted);
    if (refusal) return problem(`${JSON.stringify(wanted)} ${refusal}`);
    const path = posix.join(posix.dirname(chain.at(-1)!), wanted);
    if (path === '..' || path.startsWith('../')) {
      return problem(`${JSON.stringify(wanted)} is outside the directory of ${chain[0]}`);
    }
    if (chain.includes(path)) return problem(`${[...chain, path].join(' -> ')}: the includes form a loop`);
    if (this.#seen.has(path)) {
      const earlier = this.#seen.get(path);
      return problem(`${path} is already included${earlier ? `, at ${formatPlace(earlier)}` : ''}`);
    }
    if (chain.length > MAX_INCLUDE_DEPTH)
      return problem(`${path} is nested more than ${MAX_INCLUDE_DEPTH} includes deep`);
    if (this.#seen.size >= MAX_FILES) return problem(`${path} exceeds the limit of ${MAX_FILES} files`);
    this.#seen.set(path, place);
    const found = this.#read(path);
    if ('problem' in found) return problem(`${path} ${found.problem}`);
    this.#bytes += Buffer.byteLength(found.text);
    if (this.#bytes > MAX_TOTAL_BYTES) return problem(`${path} pushes the total size of all files above 1 MiB`);
    return { path, text: found.text };
  }
}

function whyNoPath(path: string): string | undefined {
  if (posix.isAbsolute(path) || /^[A-Za-z]:/.test(path)) return 'is an absolute path: use a path relative to this file';
  if (path.includes('\\')) return 'contains a backslash: use / between directories';
  if (/\p{Cc}/u.test(path)) return 'contains a control character';
  if (path.includes('*')) return 'is a pattern: list each file by name';
  return /\.ya?ml$/.test(path) ? undefined : 'does not end in .yaml or .yml';
}
