/** Members of objects that strangers wrote: a list where a list should be, text where text should be, or nothing. */

/**
 * The objects of a list; nothing where it is no list.
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
 * The strings of a list; nothing where it is no list.
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
 * A string, or undefined.
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
 * The members of an object; none where it is no object.
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
 * Labels: only what is text.
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
 * `"a", "b" and 3 more`, for messages.
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
