/** Types of Istio and Gateway API objects, which are derived from their CustomResourceDefinitions. */
import type { KNOWN_FIELDS } from '../generated/known-fields.ts';
import type { SpecObject } from './object.ts';

interface Scalars {
  readonly text: string;
  readonly bool: boolean;
  readonly int: number;
  readonly number: number;
  readonly any: unknown;
}

/** A value that has the given shape. All fields are optional, because manifests may omit any of them. */
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

/** The content of an object of the given kind. */
export type SpecOf<Kind extends CustomKind> = ValueOf<(typeof KNOWN_FIELDS)[Kind]>;

/** An object of a kind that is defined by a CustomResourceDefinition. */
export type CustomObject<Kind extends CustomKind> = SpecObject<Kind, SpecOf<Kind>>;

/** The item type of an optional list. */
export type Item<List> = NonNullable<List> extends readonly (infer One)[] ? One : never;
