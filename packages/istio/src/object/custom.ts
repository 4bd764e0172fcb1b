/** Types of Istio and Gateway API objects, derived from their CustomResourceDefinitions. */
import type { KNOWN_FIELDS } from '../generated/known-fields.ts';
import type { SpecObject } from './object.ts';

interface Scalars {
  readonly text: string;
  readonly bool: boolean;
  readonly int: number;
  readonly number: number;
  readonly any: unknown;
}

/** Value with the given shape. Every field is optional, because manifests may omit any of them. */
export type ValueOf<S> = S extends keyof Scalars
  ? Scalars[S]
  : S extends { readonly oneOf: readonly (infer Word)[] }
    ? Word
    : S extends { readonly list: infer Inner }
      ? readonly ValueOf<Inner>[]
      : S extends { readonly map: infer Inner }
        ? Readonly<Record<string, ValueOf<Inner>>>
        : S extends { readonly fields: infer Fields } | { readonly open: infer Fields }
          ? { readonly [Name in keyof Fields]?: ValueOf<Fields[Name]> }
          : never;

export type CustomKind = keyof typeof KNOWN_FIELDS;

/** Content of an object of the given kind. */
export type SpecOf<Kind extends CustomKind> = ValueOf<(typeof KNOWN_FIELDS)[Kind]>;

/** Object of a kind that a CustomResourceDefinition defines. */
export type CustomObject<Kind extends CustomKind> = SpecObject<Kind, SpecOf<Kind>>;

/** Item type of a list that may be absent. */
export type Item<List> = NonNullable<List> extends readonly (infer One)[] ? One : never;
