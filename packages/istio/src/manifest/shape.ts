/** The shape of a value: its type and its members. Tells misspelt and mistyped fields, which the API server drops or refuses. */

import type { Path } from '../object/object.ts';

export type Shape =
  | 'text'
  | 'bool'
  | 'int'
  | 'number'
  /** Not checked. */
  | 'any'
  | { readonly list: Shape }
  | { readonly map: Shape }
  | { readonly oneOf: readonly string[] }
  | { readonly fields: Readonly<Record<string, Shape>> }
  /** Some of its members; others are not checked. */
  | { readonly open: Readonly<Record<string, Shape>> };

export interface ShapeProblem {
  readonly path: Path;
  readonly part: 'key' | 'value';
  readonly unknown?: { readonly field: string; readonly known: readonly string[] };
  readonly message: string;
}

/** What `value` has that `shape` does not. Members that are null are taken away: to Kubernetes they are not there. */
export function checkShape(value: unknown, shape: Shape, path: Path = []): ShapeProblem[] {
  const problems: ShapeProblem[] = [];
  walk(value, shape, path as (string | number)[], problems);
  return problems;
}

function walk(value: unknown, shape: Shape, path: (string | number)[], problems: ShapeProblem[]): void {
  const mismatch = (wanted: string): void => {
    problems.push({ path, part: 'value', message: `must be ${wanted}, and is ${nameOf(value)}` });
  };
  if (shape === 'any') return;
  if (shape === 'text') {
    if (typeof value !== 'string') mismatch('text');
  } else if (shape === 'bool') {
    if (typeof value !== 'boolean') mismatch('true or false');
  } else if (shape === 'number') {
    if (typeof value !== 'number') mismatch('a number');
  } else if (shape === 'int') {
    if (!Number.isInteger(value)) mismatch('a whole number');
  } else if ('oneOf' in shape) {
    if (!shape.oneOf.includes(value as string)) mismatch(`one of ${shape.oneOf.join(', ')}`);
  } else if ('list' in shape) {
    if (!Array.isArray(value)) mismatch('a list');
    else for (const [index, item] of value.entries()) walk(item, shape.list, [...path, index], problems);
  } else if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    mismatch('a mapping');
  } else {
    for (const [key, member] of Object.entries(value)) {
      const inner = memberShape(shape, key);
      if (inner === undefined) {
        const unknown = { field: key, known: Object.keys('fields' in shape ? shape.fields : {}) };
        problems.push({ path: [...path, key], part: 'key', unknown, message: `the field "${key}" is not known` });
      } else if (member === null) delete (value as Record<string, unknown>)[key];
      else walk(member, inner, [...path, key], problems);
    }
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
