/**
 * The string forms of Istio's policies, compiled: `exact`, `prefix*`, `*suffix`, and `*` for anything that is not empty.
 * A list of them becomes one test, in which exact values are looked up rather than tried.
 */

export type TextTest = (text: string) => boolean;

export interface TextForm {
  /** Compare without regard to case (hosts). */
  readonly ignoreCase?: boolean;
  /** What `*` alone means: something (default), or also the empty text (headers that are there). */
  readonly star?: 'something' | 'present';
}

/** Whether a text has one of the forms. No values: never. */
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
