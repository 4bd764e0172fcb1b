/**
 * Checks the types and fields of values. It detects misspelled fields and fields of the wrong type, which an API server
 * drops or rejects.
 */

import type { Path } from './object.ts';

export type Shape =
  | 'text'
  | 'bool'
  | 'int'
  | 'number'
  /** The value can be anything. */
  | 'any'
  | { readonly list: Shape }
  | { readonly map: Shape }
  | { readonly oneOf: readonly string[] }
  | { readonly fields: Readonly<Record<string, Shape>> }
  /** Only these fields are checked, and other fields are allowed. */
  | { readonly open: Readonly<Record<string, Shape>> };

interface ShapeProblem {
  readonly path: Path;
  readonly part: 'key' | 'value';
  readonly unknown?: { readonly field: string; readonly known: readonly string[] };
  readonly message: string;
}

/**
 * Lists the differences between a value and a shape. Fields that are null are deleted, because Kubernetes treats them
 * as absent.
 */
export function checkShape(value: unknown, shape: Shape, path: Path = []): ShapeProblem[] {
  const problems: ShapeProblem[] = [];
  walk(value, shape, path as (string | number)[], problems);
  return problems;
}

/** The type checks for values that do not have fields. */
const SCALARS: Readonly<
  Record<Exclude<Extract<Shape, string>, 'any'>, { readonly wanted: string; readonly is: (value: unknown) => boolean }>
> = {
  text: { wanted: 'a string', is: (value) => typeof value === 'string' },
  bool: { wanted: 'true or false', is: (value) => typeof value === 'boolean' },
  number: { wanted: 'a number', is: (value) => typeof value === 'number' },
  int: { wanted: 'an integer', is: Number.isInteger },
};

function walk(value: unknown, shape: Shape, path: (string | number)[], problems: ShapeProblem[]): void {
  const wanted = typeWanted(value, shape);
  if (wanted !== undefined)
    problems.push({ path, part: 'value', message: `must be ${wanted}, but is ${nameOf(value)}` });
  else if (typeof shape === 'string' || 'oneOf' in shape) return;
  else if ('list' in shape) {
    for (const [index, item] of (value as unknown[]).entries()) walk(item, shape.list, [...path, index], problems);
  } else walkMembers(value as Record<string, unknown>, shape, path, problems);
}

/** Returns the type that a shape requires, or undefined if the value has that type. */
function typeWanted(value: unknown, shape: Shape): string | undefined {
  if (shape === 'any') return undefined;
  if (typeof shape === 'string') return SCALARS[shape].is(value) ? undefined : SCALARS[shape].wanted;
  if ('oneOf' in shape) {
    return shape.oneOf.includes(value as string) ? undefined : `one of ${shape.oneOf.join(', ')}`;
  }
  if ('list' in shape) return Array.isArray(value) ? undefined : 'a list';
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? undefined : 'a mapping';
}

function walkMembers(
  value: Record<string, unknown>,
  shape: Exclude<Shape, string>,
  path: (string | number)[],
  problems: ShapeProblem[],
): void {
  for (const [key, member] of Object.entries(value)) {
    const inner = memberShape(shape, key);
    if (inner === undefined) {
      const unknown = { field: key, known: Object.keys('fields' in shape ? shape.fields : {}) };
      problems.push({ path: [...path, key], part: 'key', unknown, message: `unknown field "${key}"` });
    } else if (member === null) delete value[key];
    else walk(member, inner, [...path, key], problems);
  }
}

function memberShape(shape: Exclude<Shape, string>, key: string): Shape | undefined {
  if ('map' in shape) return shape.map;
  if ('open' in shape) return Object.hasOwn(shape.open, key) ? shape.open[key] : 'any';
  return 'fields' in shape && Object.hasOwn(shape.fields, key) ? shape.fields[key] : undefined;
}

function nameOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : `the ${typeof value} ${value}`;
}
