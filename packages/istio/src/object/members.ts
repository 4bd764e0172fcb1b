/** Members of objects that strangers wrote: a list where a list should be, text where text should be, or nothing. */

export function items<T>(value: readonly T[] | undefined): readonly T[] {
  return Array.isArray(value) ? value.filter((item) => item !== null && typeof item === 'object') : [];
}

export function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export function record<T = unknown>(
  value: Readonly<Record<string, T>> | undefined | unknown,
): Readonly<Record<string, T>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, T>) : {};
}

/** Labels: only what is text. */
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

/** Whether something has all of the labels asked for. */
export function hasLabels(wanted: Readonly<Record<string, string>>, given: Readonly<Record<string, string>>): boolean {
  for (const name in wanted) if (given[name] !== wanted[name]) return false;
  return true;
}

/** `"a", "b" and 3 more`, for messages. */
export function listed(values: readonly string[], most = 3): string {
  const shown = values.slice(0, most).join(', ');
  return values.length > most ? `${shown} and ${values.length - most} more` : shown;
}
