/**
 * Compiles the string patterns of Istio's policies: `exact`, `prefix*`, `*suffix`, and `*` for any non-empty text. A
 * list is compiled to a single test, which looks up exact values in a set.
 */

export type TextTest = (text: string) => boolean;

interface TextForm {
  /** Whether to ignore case, for hosts. */
  readonly ignoreCase?: boolean;
  /**
   * Meaning of a lone `*`: any non-empty text (the default), or any text including the empty one (for headers that are
   * present).
   */
  readonly star?: 'something' | 'present';
}

/** Compiles a test for a list of patterns. An empty list never matches. */
export function textTest(values: readonly string[], form: TextForm = {}): TextTest {
  const { ignoreCase = false, star = 'something' } = form;
  const fold = (text: string): string => (ignoreCase ? text.toLowerCase() : text);
  const exact = new Set<string>();
  const starts: string[] = [];
  const ends: string[] = [];
  let any = false;
  for (const value of values) {
    if (value === '*') any = true;
    else if (value.startsWith('*')) ends.push(fold(value.slice(1)));
    else if (value.endsWith('*')) starts.push(fold(value.slice(0, -1)));
    else exact.add(fold(value));
  }
  if (any) return star === 'present' ? () => true : (text) => text !== '';
  const isExact = oneOf(exact);
  if (starts.length === 0 && ends.length === 0) return ignoreCase ? (text) => isExact(fold(text)) : isExact;
  return (given) => {
    const text = fold(given);
    if (isExact(text)) return true;
    for (const start of starts) if (text.startsWith(start)) return true;
    for (const end of ends) if (text.endsWith(end)) return true;
    return false;
  };
}

function oneOf(values: ReadonlySet<string>): TextTest {
  if (values.size === 0) return () => false;
  if (values.size === 1) {
    const [only] = values;
    return (text) => text === only;
  }
  return (text) => values.has(text);
}
