/** Text of an access file to Access, or one error that lists every finding with its line. */
import type { ErrorCode } from '@meshpass/identity';
import type { z } from 'zod';
import { type AccessDocument, accessSchema, type SchemaOptions } from './access-schema.ts';
import { checkReferences } from './check-references.ts';
import { didYouMean, nearest } from './did-you-mean.ts';
import type { Access, Grant, Place } from './model.ts';
import { type AccessFileProblem, accessFileError } from './problem.ts';
import { readYaml, type YamlFile } from './read-yaml.ts';

export type ParseOptions = SchemaOptions;

/**
 * Reads an access file. Nothing of it is in force unless all of it is right.
 * @param text YAML 1.2, at most 1 MiB
 * @param file name for messages and annotations, e.g. `access.yaml`
 * @throws MeshpassError `access_file_*`: the message has a line `FILE:LINE:COLUMN what is wrong` per finding, `detail.problems`
 * the same as AccessFileProblem[]
 */
export function parseAccess(text: string, file: string, options: ParseOptions = {}): Access {
  const read = readYaml(text, file);
  if ('problems' in read) throw accessFileError(read.problems);
  const { yaml } = read;
  const result = accessSchema(options).safeParse(yaml.value);
  if (!result.success)
    throw accessFileError(withoutEchoes(result.error.issues, yaml).flatMap((issue) => toProblems(issue, yaml)));
  const access = toAccess(result.data, file, yaml);
  const issuerPlaces = new Map(
    access.trust.issuers.map(({ name }) => [name, yaml.locate(['trust', 'issuers', name], 'key')]),
  );
  const problems = checkReferences(access, issuerPlaces);
  if (problems.length > 0) throw accessFileError(problems);
  return access;
}

/** Teams that GitHub must be asked about to decide under this file: `org/slug`, lower case, sorted, each once. */
export function teamsMentioned(access: Access): readonly string[] {
  const teams = access.grants.flatMap(({ who }) => who.flatMap(({ team }) => (team === undefined ? [] : [team])));
  return [...new Set(teams)].sort();
}

function toAccess(document: AccessDocument, file: string, yaml: YamlFile): Access {
  const { codespaces, issuers, audiences } = document.trust;
  return {
    file,
    trust: {
      ...(codespaces && { codespaces }),
      issuers: Object.entries(issuers).map(([name, issuer]) => ({ name, ...issuer })),
      audiences,
    },
    grants: Object.entries(document.grants).map(([name, grant]) => toGrant(name, grant, yaml)),
  };
}

function toGrant(name: string, grant: AccessDocument['grants'][string], yaml: YamlFile): Grant {
  const at = (...path: PropertyKey[]): Place => yaml.locate(['grants', name, ...path], 'value');
  return {
    name,
    place: yaml.locate(['grants', name], 'key'),
    who: grant.who.map((who, index) => ({ place: at('who', index), ...who })),
    to: grant.to.map(({ service, port, allow }, index) => ({
      place: at('to', index),
      ...service,
      port,
      ...(allow && { allow }),
    })),
    kubernetesRoles: (grant.kubernetes?.roles ?? []).map((role, index) => ({
      ...role,
      place: at('kubernetes', 'roles', index),
    })),
    ttl: grant.ttl,
    session: grant.session,
  };
}

/** Leaves out `"who" is missing` where a mistyped `wo` stands in its place. */
function withoutEchoes(issues: readonly z.core.$ZodIssue[], yaml: YamlFile): readonly z.core.$ZodIssue[] {
  const meant = new Set(
    issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => JSON.stringify([...issue.path, nearest(key, knownKeys(issue.path))]))
        : [],
    ),
  );
  return issues.filter((issue) => !(isMissing(issue, yaml) && meant.has(JSON.stringify(issue.path))));
}

function isMissing(issue: z.core.$ZodIssue, yaml: YamlFile): boolean {
  return issue.code === 'invalid_type' && !exists(yaml.value, issue.path);
}

function toProblems(issue: z.core.$ZodIssue, yaml: YamlFile): readonly AccessFileProblem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      code: 'access_file_unknown_key',
      place: yaml.locate([...issue.path, key], 'key'),
      message: `unknown key "${key}"${didYouMean(key, knownKeys(issue.path))}`,
    }));
  }
  const params = issue.code === 'custom' ? (issue.params as { code?: ErrorCode; at?: 'key' } | undefined) : undefined;
  const where = fieldName(issue.path);
  const missing = isMissing(issue, yaml);
  return [
    {
      code: params?.code ?? (missing && issue.path.at(-1) === 'who' ? 'access_file_who_empty' : 'access_file_invalid'),
      place: yaml.locate(issue.path, params?.at ?? (missing ? 'key' : 'value')),
      message: missing ? `"${String(issue.path.at(-1))}" is missing` : `${where}${describe(issue, yaml)}`,
    },
  ];
}

/** `port: `; nothing for an element of a list, whose text the message quotes. */
function fieldName(path: readonly PropertyKey[]): string {
  const last = path.at(-1);
  return typeof last === 'string' ? `${last}: ` : '';
}

function describe(issue: z.core.$ZodIssue, yaml: YamlFile): string {
  if (issue.code !== 'invalid_type') return issue.message;
  const found = typeName(valueAt(yaml.value, issue.path));
  const expected = {
    string: 'text',
    object: 'a map',
    record: 'a map',
    array: 'a list',
    int: 'a whole number',
    number: 'a number',
  };
  return `expected ${expected[issue.expected as keyof typeof expected] ?? issue.expected}, found ${found}`;
}

function typeName(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return (
    { object: 'a map', string: 'text', number: 'a number', boolean: 'true or false' }[typeof value as string] ??
    typeof value
  );
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, step) => (exists(inner, [step]) ? (inner as Record<PropertyKey, unknown>)[step] : undefined),
    value,
  );
}

function exists(value: unknown, path: readonly PropertyKey[]): boolean {
  let inner = value;
  for (const step of path) {
    if (typeof inner !== 'object' || inner === null || !Object.hasOwn(inner, step)) return false;
    inner = (inner as Record<PropertyKey, unknown>)[step];
  }
  return true;
}

/** The keys that may stand at a path, for suggestions; lists and names are skipped over. */
function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  const [section, , part] = path.map(String);
  if (section === undefined) return ['trust', 'grants'];
  if (section === 'trust') {
    if (path.length === 1) return ['codespaces', 'issuers', 'audiences'];
    return path[1] === 'codespaces' ? ['organization'] : ['issuer', 'audience', 'algorithms', 'kind'];
  }
  if (part === undefined) return ['who', 'to', 'kubernetes', 'ttl', 'session'];
  if (part === 'who') return ['user', 'team', 'repository', 'issuer', 'when'];
  if (part === 'to') return ['service', 'port', 'allow'];
  return ['roles'];
}
