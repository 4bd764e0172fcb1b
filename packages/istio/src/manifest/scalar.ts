/**
 * Interprets unquoted YAML scalars the way Kubernetes does. Kubernetes' tools read YAML 1.1 with Go's yaml.v2, so `on`
 * and `no` are booleans and `0777` is an octal number. An API server rejects such values where a string is required, so
 * this parser has to infer the same types.
 */

const WORDS = new Map<string, boolean | number | null>();
for (const word of ['', '~', 'null', 'Null', 'NULL']) WORDS.set(word, null);
for (const word of ['true', 'yes', 'on']) {
  for (const form of [word, capital(word), word.toUpperCase()]) WORDS.set(form, true);
}
for (const word of ['false', 'no', 'off']) {
  for (const form of [word, capital(word), word.toUpperCase()]) WORDS.set(form, false);
}
for (const word of ['y', 'Y']) WORDS.set(word, true);
for (const word of ['n', 'N']) WORDS.set(word, false);
for (const word of ['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF']) WORDS.set(word, Number.POSITIVE_INFINITY);
for (const word of ['-.inf', '-.Inf', '-.INF']) WORDS.set(word, Number.NEGATIVE_INFINITY);
for (const word of ['.nan', '.NaN', '.NAN']) WORDS.set(word, Number.NaN);

const LONGEST_WORD = 5;
const DECIMAL = /^[-+]?(?:0|[1-9][0-9_]*)$/;
const OTHER_BASE = /^([-+]?)0(x[0-9a-fA-F_]+|b[01_]+|o?[0-7_]+)$/;
const FLOAT = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;

/**
 * Converts a plain scalar to its value.
 * @param word the text of the scalar
 */
export function plainScalar(word: string): string | number | boolean | null {
  if (word.length <= LONGEST_WORD) {
    const known = WORDS.get(word);
    if (known !== undefined) return known;
  }
  const first = word.charCodeAt(0);
  const numeric = (first >= 0x30 && first <= 0x39) || first === 0x2b || first === 0x2d || first === 0x2e;
  return numeric ? numberOrText(word) : word;
}

function numberOrText(word: string): string | number {
  if (DECIMAL.test(word)) return Number(word.replaceAll('_', ''));
  const other = OTHER_BASE.exec(word);
  if (other) {
    const digits = other[2]!.replaceAll('_', '');
    const value = Number(/^[xbo]/.test(digits) ? `0${digits}` : `0o${digits}`);
    return other[1] === '-' ? -value : value;
  }
  return FLOAT.test(word) ? Number(word) : word;
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
