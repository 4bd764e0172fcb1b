/** Describes schema errors, together with their places in the file. */
import { type ErrorCode, pageUrl } from '@meshpass/identity';
import { didYouMean, nearest } from '@meshpass/istio';
import type { z } from 'zod';
import type { AccessFileProblem } from '../problem.ts';
import { ENDPOINT_APPROVAL } from '../schema/approval.ts';
import { type JsonSchema, keysAt } from '../schema/json-schema.ts';
import type { YamlFile } from './read-yaml.ts';

type Issue = z.core.$ZodIssue;

/**
 * Describes the errors that the schema reported for a document.
 * @param schema the schema of the same document, used for suggestions
 */
export function describeIssues(
  issues: readonly Issue[],
  yaml: YamlFile,
  schema: JsonSchema,
): readonly AccessFileProblem[] {
  const known = (path: readonly PropertyKey[]) => keysAt(schema, path);
  const flat = issues.flatMap((issue) => withoutUnions(issue, yaml));
  return withoutEchoes(flat, yaml, known).flatMap((issue) => toProblems(issue, yaml, known));
}

/**
 * Reduces the errors of a union to those of the alternative that the author probably intended. This is the alternative
 * whose type fits the value.
 */
function withoutUnions(issue: Issue, yaml: YamlFile): readonly Issue[] {
  if (issue.code !== 'invalid_union') return [issue];
  if (!exists(yaml.value, issue.path))
    return [{ code: 'invalid_type', expected: 'object', path: issue.path, message: '', input: issue.input }];
  const isMeant = (found: readonly Issue[]) => found.length > 0 && !found.some((one) => expected(one).length > 0);
  const meant = issue.errors.filter(isMeant).toSorted((a, b) => a.length - b.length)[0];
  if (meant) return meant.flatMap((one) => withoutUnions({ ...one, path: [...issue.path, ...one.path] }, yaml));
  const types = [...new Set(issue.errors.flat().flatMap(expected))].join(' or ');
  const message = `expected ${types}, found ${typeName(valueAt(yaml.value, issue.path))}`;
  return [{ code: 'custom', path: issue.path, message, input: issue.input }];
}

/** Lists the types that would have been accepted for the value as a whole. */
function expected(issue: Issue): readonly string[] {
  if (issue.path.length > 0) return [];
  if (issue.code === 'invalid_type') return [named(issue.expected)];
  return issue.code === 'invalid_union' ? issue.errors.flat().flatMap(expected) : [];
}

type KnownKeys = (path: readonly PropertyKey[]) => readonly string[];

/**
 * Removes errors that are caused by others. For example, a mistyped key would otherwise also be reported as a missing
 * key or an empty entry.
 */
function withoutEchoes(issues: readonly Issue[], yaml: YamlFile, known: KnownKeys): readonly Issue[] {
  const meant = new Set(
    issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => JSON.stringify([...issue.path, nearest(key, known(issue.path))]))
        : [],
    ),
  );
  const mistyped = new Set(
    issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? [JSON.stringify(issue.path)] : [])),
  );
  return issues.filter((issue) => {
    const path = JSON.stringify(issue.path);
    return !(isMissing(issue, yaml) && meant.has(path)) && !(issue.code === 'custom' && mistyped.has(path));
  });
}

function isMissing(issue: Issue, yaml: YamlFile): boolean {
  return issue.code === 'invalid_type' && !exists(yaml.value, issue.path);
}

function toProblems(issue: Issue, yaml: YamlFile, known: KnownKeys): readonly AccessFileProblem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      code: 'access_file_unknown_key',
      place: yaml.locate([...issue.path, key], 'key'),
      message: misplaced(issue.path, key) ?? `unknown key "${key}"${didYouMean(key, known(issue.path))}`,
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

/** Explains that a key was renamed or moved, or returns undefined if it was not. */
function misplaced(path: readonly PropertyKey[], key: string): string | undefined {
  return key === 'approval' && path.at(-2) === 'to' ? ENDPOINT_APPROVAL : formerKey(path, key);
}

/**
 * Returns the field name as a prefix, as in `port: `. The prefix is empty for list elements, because the message quotes
 * them.
 */
function fieldName(path: readonly PropertyKey[]): string {
  const last = path.at(-1);
  return typeof last === 'string' ? `${last}: ` : '';
}

function describe(issue: Issue, yaml: YamlFile): string {
  if (issue.code === 'invalid_value' && issue.message.startsWith('Invalid'))
    return `${JSON.stringify(valueAt(yaml.value, issue.path))} is not allowed: use ${issue.values.map(String).join(' or ')}`;
  if (issue.code !== 'invalid_type') return issue.message;
  // The schema's own message is more specific.
  if (!issue.message.startsWith('Invalid input')) return issue.message;
  return `expected ${named(issue.expected)}, found ${typeName(valueAt(yaml.value, issue.path))}`;
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'text',
  object: 'a map',
  record: 'a map',
  array: 'a list',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
};

function named(type: string): string {
  return TYPES[type] ?? type;
}

function typeName(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  return named(Array.isArray(value) ? 'array' : typeof value);
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

// Keys that earlier versions supported, with messages about their replacements.

const OPERATORS: Readonly<Record<string, string>> = {
  secondPerson:
    '"secondPerson" was removed in favor of review in Git: have a job apply access files from a repository whose default branch requires ' +
    `a review (${pageUrl('docs/access/ways-to-change-access.md')}), assign "admin" and "security-officer" to as few people as possible, and remove this key`,
  confirm:
    '"confirm" was removed in favor of a fixed interval: the issuer confirms an operator every five minutes. Remove this key',
};

/** Explains what replaced a key, or returns undefined if the key never existed there. */
function formerKey(path: readonly PropertyKey[], key: string): string | undefined {
  const isOperators = path.length === 1 && path[0] === 'operators';
  return isOperators && Object.hasOwn(OPERATORS, key) ? OPERATORS[key] : undefined;
}
