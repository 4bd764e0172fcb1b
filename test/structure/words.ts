import { readFileSync } from 'node:fs';
import { parseSync, Visitor } from 'rolldown/utils';

export interface Phrase {
  readonly pattern: RegExp;
  readonly instead: string;
}

/** Reads the word list: a regular expression, two spaces or more, and the replacement. Lines with # are comments. */
export function readPhrases(file: string | URL): readonly Phrase[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, pattern, instead] = /^(.+?) {2,}(.+)$/.exec(line)!;
      return { pattern: new RegExp(pattern!), instead: instead! };
    });
}

/** Literals with fewer words are identifiers, flags or keys rather than messages. */
const MIN_WORDS = 5;

/**
 * Finds phrases of the list in comments and messages of a module. Code in backticks is ignored.
 * @returns problems as `FILE:LINE: "PHRASE": write ...`
 */
export function findPhrases(file: string, text: string, phrases: readonly Phrase[]): readonly string[] {
  const { program, comments } = parseSync(file, text);
  const prose = comments.map(({ type, value, start }) => ({
    text: type === 'Block' ? `/*${value}*/` : value,
    start,
  }));
  const add = (value: string, start: number) => {
    if (value.split(/\s+/).length >= MIN_WORDS) prose.push({ text: value, start });
  };
  new Visitor({
    Literal: ({ value, start }) => (typeof value === 'string' ? add(value, start) : undefined),
    TemplateLiteral: ({ quasis, start }) => add(quasis.map(({ value }) => value.raw).join('X'), start),
  }).visit(program);
  return prose.flatMap(({ text: part, start }) => {
    const words = part.replaceAll(/`[^`]*`/g, 'X').replaceAll(/\n\s*\* ?/g, ' ');
    const line = text.slice(0, start).split('\n').length;
    return phrases.flatMap(({ pattern, instead }) => {
      const found = pattern.exec(words)?.[0];
      return found === undefined ? [] : [`${file}:${line}: ${JSON.stringify(found)}: write ${instead}.`];
    });
  });
}
