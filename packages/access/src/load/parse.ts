/** Text of an access file, and of the files that it includes, to Access; or one error that lists every finding. */

import type { Place } from '@meshpass/istio';
import type { z } from 'zod';
import { teamOf } from '../authorize/who.ts';
import type { Access, Denial, Grant } from '../model.ts';
import { type AccessFileProblem, accessFileError, formatPlace } from '../problem.ts';
import { accessSchema, includedSchema, type SchemaOptions } from '../schema/access-file.ts';
import { accessJsonSchema, includedJsonSchema } from '../schema/json-schema.ts';
import { checkReferences } from './check-references.ts';
import { describeIssues } from './describe-issues.ts';
import { IncludeTree, type ReadIncluded } from './include.ts';
import { readYaml, type YamlFile } from './read-yaml.ts';
import { toGrants, toOperators, toTrust, toWebhooks } from './to-access.ts';

export interface ParseOptions extends SchemaOptions {
  /** Reads what the file includes. Without it, a file that includes another is refused. */
  readonly include?: ReadIncluded;
}

/**
 * Reads an access file. Nothing of it is in force unless all of it is right.
 * @param text YAML 1.2, at most 1 MiB
 * @param file name for messages and annotations, e.g. `access.yaml`; its directory is where included files are
 * @throws MeshpassError `access_file_*`: the message has a line `FILE:LINE:COLUMN what is wrong` per finding, `detail.problems`
 * the same as AccessFileProblem[]
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
  const first = readDocument(text, file, accessSchema(options), () => accessJsonSchema(options));
  if ('problems' in first) throw accessFileError(first.problems);
  const { document, yaml } = first;
  const gathered: Gathered = { ...toGrants(document, yaml), problems: [] };
  const tree = new IncludeTree({ path: baseName(file), text }, options.include ?? (() => ({ problem: NOT_HERE })));
  const named = (path: string) => file.slice(0, file.length - baseName(file).length) + path;
  const all = gather(gathered, document.include, yaml, [baseName(file)], tree, named);
  const access: Access = {
    file,
    ...(tree.files.length > 1 && { files: tree.files.map(named) }),
    trust: toTrust(document),
    ...(all.deny && { deny: all.deny }),
    grants: all.grants,
    ...toOperators(document, yaml),
    ...(document.approvals && { webhooks: toWebhooks(document.approvals, yaml) }),
  };
  const issuerPlaces = new Map(
    access.trust.issuers.map(({ name }) => [name, yaml.locate(['trust', 'issuers', name], 'key')]),
  );
  const problems = [...all.problems, ...checkGrants(access.grants), ...checkReferences(access, issuerPlaces)];
  if (problems.length > 0) throw accessFileError(problems);
  return access;
}

/**
 * Teams that GitHub must be asked about to decide under this file: `org/slug` or `org/#ID`, lower case, sorted, each once.
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
 * Teams whose members some entry denies. To decide under this file, GitHub must be asked who is not a member of them.
 * Lower case, sorted, each once.
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
 * Roles that GitHub must be asked about: `org/admin` or `org/member`, lower case, sorted, each once.
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

/** Of all files together; each is a namespace and a policy on every workload. */
const MAX_GRANTS = 1_000;
const NOT_HERE = 'cannot be read here: only one file was given';

function mentioned(access: Access, of: (who: Grant['who'][number]) => string | undefined): readonly string[] {
  // Whoever takes a grant in an emergency is decided by what their session has; approvers and reviewers are asked about when they answer.
  const entries = access.grants.flatMap(({ who, approval }) => [...who, ...(approval?.emergency?.who ?? [])]);
  const all = entries.flatMap((entry) => of(entry) ?? []);
  return [...new Set(all)].sort();
}

interface Gathered {
  readonly deny?: readonly Denial[];
  readonly grants: readonly Grant[];
  readonly problems: readonly AccessFileProblem[];
}

/** @param chain files that led to this one, itself last */
function gather(
  own: Gathered,
  include: readonly string[] | undefined,
  yaml: YamlFile,
  chain: readonly string[],
  tree: IncludeTree,
  named: (path: string) => string,
): Gathered {
  let all = own;
  for (const [index, wanted] of (include ?? []).entries()) {
    const opened = tree.open(wanted, chain, yaml.locate(['include', index], 'value'));
    if (!('text' in opened)) {
      all = { ...all, problems: [...all.problems, opened] };
      continue;
    }
    const read = readDocument(opened.text, named(opened.path), includedSchema(), includedJsonSchema);
    if ('problems' in read) {
      all = { ...all, problems: [...all.problems, ...read.problems.map(explainTrust)] };
      continue;
    }
    const below = { ...toGrants(read.document, read.yaml), problems: [] };
    const inner = gather(below, read.document.include, read.yaml, [...chain, opened.path], tree, named);
    const deny = [...(all.deny ?? []), ...(inner.deny ?? [])];
    all = {
      ...(deny.length > 0 && { deny }),
      grants: [...all.grants, ...inner.grants],
      problems: [...all.problems, ...inner.problems],
    };
  }
  return all;
}

function explainTrust(problem: AccessFileProblem): AccessFileProblem {
  if (problem.code !== 'access_file_unknown_key') return problem;
  if (problem.message.startsWith('unknown key "trust"'))
    return { ...problem, message: 'only the first file says whose word is taken: move "trust" there' };
  return problem.message.startsWith('unknown key "operators"')
    ? { ...problem, message: 'only the first file says who operates the broker: move "operators" there' }
    : problem;
}

function readDocument<T extends z.ZodType>(
  text: string,
  file: string,
  schema: T,
  jsonSchema: () => Parameters<typeof describeIssues>[2],
): { readonly document: z.output<T>; readonly yaml: YamlFile } | { readonly problems: readonly AccessFileProblem[] } {
  const read = readYaml(text, file);
  if ('problems' in read) return read;
  const result = schema.safeParse(read.yaml.value);
  if (result.success) return { document: result.data, yaml: read.yaml };
  return { problems: describeIssues(result.error.issues, read.yaml, jsonSchema()) };
}

/** In one file the reader and the schema find this; here it is for several. */
function checkGrants(grants: readonly Grant[]): readonly AccessFileProblem[] {
  const seen = new Map<string, Place>();
  const problems = grants.flatMap(({ name, place }): AccessFileProblem[] => {
    const earlier = seen.get(name);
    seen.set(name, earlier ?? place);
    if (!earlier) return [];
    const message = `the grant "${name}" stands at ${formatPlace(earlier)} already`;
    return [{ code: 'access_file_invalid', place, message }];
  });
  const beyond = grants[MAX_GRANTS];
  if (!beyond) return problems;
  const message = `more than ${MAX_GRANTS} grants in all files together`;
  return [...problems, { code: 'access_file_invalid', place: beyond.place, message }];
}

function baseName(file: string): string {
  return file.slice(file.lastIndexOf('/') + 1);
}
