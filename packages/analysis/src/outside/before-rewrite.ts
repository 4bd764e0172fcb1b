/** Translates tests of a rewritten request to conditions on the original request. */
import { ALWAYS, all, any, type Condition, NEVER, not, type Test, text } from '../diff/formula/condition.ts';
import { classOf } from '../diff/formula/pattern.ts';
import { type Piece, passesTest, type TextTest } from '../diff/formula/text-test.ts';
import { normalizePath } from '../evaluate/rule/path.ts';
import { opaque } from '../routes/opaque.ts';
import { type PathRewrite, type Rewrite, rewrittenHeader } from '../routes/rewrite.ts';

type TextOf = Extract<Test, { readonly op: 'text' }>;
type Normalization = Parameters<typeof normalizePath>[1];

/**
 * Returns the calls that pass a test after they have been rewritten, or undefined if the rewrite does not change the
 * tested field.
 * @param normalization how the workload's proxy normalizes the rewritten path
 */
export function preRewriteCondition(
  rewrite: Rewrite,
  test: TextOf,
  normalization: Normalization,
): Condition | undefined {
  const { field } = test;
  if (field === 'path') return rewrite.path && pathBefore(rewrite.path, test.test, normalization);
  if (field === 'host') return rewrite.host === undefined ? undefined : constant(passesTest(test.test, rewrite.host));
  if (!field.startsWith('header:')) return undefined;
  const name = field.slice('header:'.length);
  if (!rewrite.headers.some((one) => one.name === name)) return undefined;
  const after = rewrittenHeader(rewrite, name, 'unknown');
  return after === 'unknown' ? unknown(field) : constant(passesTest(test.test, after.value));
}

function constant(value: boolean): Condition {
  return value ? ALWAYS : NEVER;
}

function unknown(field: string): Condition {
  return opaque(`a policy at the workload tests the ${field.replace(':', ' ')}, which the route changes`);
}

function pathBefore(rewrite: PathRewrite | 'unknown', test: TextTest, normalization: Normalization): Condition {
  if (rewrite === 'unknown') return unknown('path');
  if (rewrite.whole) {
    const sent = normalizePath(rewrite.by, normalization)?.replace(/\?.*$/s, '');
    return constant(passesTest(test, sent));
  }
  const { prefix, by, segments } = rewrite;
  if (!isPlain(by, normalization)) return unknown('path');
  const found = any(testsBefore(rewrite, test).map((one) => (one === ALWAYS ? ALWAYS : text('path', one as TextTest))));
  const joins = !segments && by.endsWith('/') && !prefix.endsWith('/');
  if (!joins) return found;
  // For example, `/a../x` becomes `/../x`, which the workload's proxy resolves, and `/a/x` becomes `//x`, whose slashes
  // it may merge.
  const merges = normalization === 'MERGE_SLASHES' || normalization === 'DECODE_AND_MERGE_SLASHES';
  const risky = any([
    text('path', { form: 'prefix', text: `${prefix}.` }),
    merges ? text('path', { form: 'prefix', text: `${prefix}/` }) : NEVER,
  ]);
  return any([all([found, not(risky)]), all([risky, unknown('path')])]);
}

/** Whether normalization leaves the new prefix unchanged. */
function isPlain(by: string, normalization: Normalization): boolean {
  if (by === '') return true;
  return by.startsWith('/') && !/\.$|\?/.test(by) && normalizePath(`${by}x`, normalization) === `${by}x`;
}

function testsBefore(
  rewrite: PathRewrite & { readonly whole: false },
  test: TextTest,
): readonly (TextTest | Condition)[] {
  const { by, prefix, ignoreCase } = rewrite;
  const head: readonly Piece[] = ignoreCase
    ? Array.from(prefix, () => ({ class: '.', many: false }))
    : [{ text: prefix }];
  const from = (...rest: readonly Piece[]) => toTest([...head, ...rest]);
  switch (test.form) {
    case 'present':
      return [by === '' ? from({ class: '.', many: false }, ANY) : ALWAYS];
    case 'exact':
      return test.text.startsWith(by) ? [from({ text: test.text.slice(by.length) })] : [];
    case 'prefix':
      if (by.startsWith(test.text)) return [ALWAYS];
      return test.text.startsWith(by) ? [from({ text: test.text.slice(by.length) }, ANY)] : [];
    case 'suffix': {
      const within = Array.from({ length: Math.min(by.length, test.text.length) }, (_, index) => index + 1).filter(
        (length) => by.endsWith(test.text.slice(0, length)),
      );
      return [from(ANY, { text: test.text }), ...within.map((length) => from({ text: test.text.slice(length) }))];
    }
    case 'pattern':
      return residuals(test.pieces, by).map((rest) => from(...rest));
  }
}

const ANY: Piece = { any: 'text' };

function toTest(given: readonly Piece[]): TextTest {
  const pieces: Piece[] = [];
  for (const piece of given) {
    const last = pieces.at(-1);
    if ('text' in piece && piece.text === '') continue;
    if ('text' in piece && last && 'text' in last) pieces[pieces.length - 1] = { text: last.text + piece.text };
    else pieces.push(piece);
  }
  const [first, second, ...others] = pieces;
  if (first && 'text' in first && !second) return { form: 'exact', text: first.text };
  if (first && 'text' in first && second === ANY && others.length === 0) return { form: 'prefix', text: first.text };
  return { form: 'pattern', pieces };
}

/** Returns the patterns that may match the rest of a text, given how the text starts. */
function residuals(pieces: readonly Piece[], start: string): readonly (readonly Piece[])[] {
  let left: readonly (readonly Piece[])[] = [pieces];
  for (const letter of start) {
    const next = left.flatMap((one) => after(one, letter));
    left = [...new Map(next.map((one) => [JSON.stringify(one), one])).values()];
  }
  return left;
}

function after(pieces: readonly Piece[], letter: string): readonly (readonly Piece[])[] {
  const [first, ...rest] = pieces;
  if (!first) return [];
  if ('text' in first) {
    if (first.text === '') return after(rest, letter);
    return first.text[0] === letter ? [[{ text: first.text.slice(1) }, ...rest]] : [];
  }
  return afterWildcard(first, rest, letter);
}

function afterWildcard(
  first: Exclude<Piece, { readonly text: string }>,
  rest: readonly Piece[],
  letter: string,
): readonly (readonly Piece[])[] {
  const source = classOf(first);
  const isIn = new RegExp(`^${source}$`, 's').test(letter);
  if ('class' in first && !first.many) return isIn ? [rest] : [];
  const isSegment = 'any' in first && first.any === 'segment';
  // A segment has at least one character. After the first one, all others are optional.
  const taken: readonly (readonly Piece[])[] = isIn
    ? [[isSegment ? { class: source, many: true } : first, ...rest]]
    : [];
  return isSegment ? taken : [...taken, ...after(rest, letter)];
}
