/**
 * Typed access to the fields of objects that have not been validated. Fields of the wrong type are treated as absent.
 */

/**
 * Returns the objects in a list. Returns an empty list for any other value.
 * @example
 * ```ts
 * import { items } from '@meshpass/istio/members';
 * items([{ a: 1 }, null] as never); // => [{ a: 1 }]
 * items('text' as never); // => []
 * ```
 */
export function items<T>(value: readonly T[] | undefined): readonly T[] {
  return Array.isArray(value) ? value.filter((item) => item !== null && typeof item === 'object') : [];
}

/**
 * Returns the strings in a list. Returns an empty list for any other value.
 * @example
 * ```ts
 * import { texts } from '@meshpass/istio/members';
 * texts(['a', 1]); // => ['a']
 * ```
 */
export function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

/**
 * Returns a value if it is a string, or undefined if it is not.
 * @example
 * ```ts
 * import { text } from '@meshpass/istio/members';
 * text('a'); // => 'a'
 * text(1); // => undefined
 * ```
 */
export function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/**
 * Returns a value if it is an object, or an empty object if it is not.
 * @example
 * ```ts
 * import { record } from '@meshpass/istio/members';
 * record({ a: 1 }); // => { a: 1 }
 * record(null); // => {}
 * ```
 */
export function record<T = unknown>(
  value: Readonly<Record<string, T>> | undefined | unknown,
): Readonly<Record<string, T>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, T>) : {};
}

/**
 * Returns the labels in an object, leaving out all values that are not strings.
 * @example
 * ```ts
 * import { labels } from '@meshpass/istio/members';
 * labels({ app: 'orders', replicas: 3 }); // => { app: 'orders' }
 * ```
 */
export function labels(value: unknown): Readonly<Record<string, string>> {
  const given = record(value);
  for (const name in given) {
    if (typeof given[name] !== 'string') {
      return Object.fromEntries(Object.entries(given).filter(([, one]) => typeof one === 'string')) as Record<
        string,
        string
      >;
    }
  }
  return given as Record<string, string>;
}

/**
 * Removes every element whose key already occurred earlier in the list.
 * @example
 * ```ts
 * import { distinct } from '@meshpass/istio/members';
 * distinct(['a', 'b', 'ab'], (word) => word.charAt(0)); // => ['a', 'b']
 * ```
 */
export function distinct<T>(all: readonly T[], keyOf: (one: T) => string): T[] {
  return [...Map.groupBy(all, keyOf).values()].flatMap(([first]) => (first === undefined ? [] : [first]));
}

/**
 * Compares two numbers, or two strings by code unit. It can be passed to `sort`.
 * @example
 * ```ts
 * import { compare } from '@meshpass/istio/members';
 * ['b', 'a'].sort(compare); // => ['a', 'b']
 * ```
 */
export function compare<Value extends string | number>(a: Value, b: Value): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Formats a list for use in messages, such as `a, b, c and 3 more`.
 * @example
 * ```ts
 * import { listed } from '@meshpass/istio/members';
 * listed(['a', 'b', 'c'], 2); // => 'a, b and 1 more'
 * ```
 */
export function listed(values: readonly string[], most = 3): string {
  const shown = values.slice(0, most).join(', ');
  return values.length > most ? `${shown} and ${values.length - most} more` : shown;
}
