/**
 * Compiles the string patterns that Istio's policies use: `exact`, `prefix*`, `*suffix`, and `*` for any text that is
 * not empty. A list becomes a single test, which looks up exact values in a set.
 */

export type TextTest = (text: string) => boolean;

interface TextForm {
  /** Whether upper and lower case are equivalent, as in host names. */
  readonly ignoreCase?: boolean;
  /**
   * The text that `*` on its own matches: either any text that is not empty (the default), or any text at all (for
   * headers that are present).
   */
  readonly star?: 'something' | 'present';
}

/** Compiles a list of patterns to a test. An empty list does not match anything. */
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
