import { describe, expect, it } from 'vitest';
import { specifiersOf } from './imports.ts';

describe('the imports of a module', () => {
  it.each([
    ['with a comment behind it', "import { x } from './x.ts'; // as said"],
    ['without a semicolon', "import { x } from './x.ts'"],
    ['of a type', "import type { X } from './x.ts';"],
    ['for its effects', "import './x.ts';"],
    ['with a quote in a comment', "import { x /* it's */ } from './x.ts';"],
    ['with attributes', "import x from './x.ts' with { type: 'json' };"],
    ['in double quotes', 'import { x } from "./x.ts";'],
    ['by an export', "export { x } from './x.ts';"],
    ['by an export of everything', "export * from './x.ts';"],
    ['when it is called', "const x = () => import('./x.ts');"],
    ['when it is called, with a comment', "const x = import(/* later */ './x.ts');"],
    ['by a template', 'const x = import(`./x.ts`);'],
    ['by a type', "type X = import('./x.ts').X;"],
    ['as a program to start', "const x = new URL('./x.ts', import.meta.url);"],
  ])('are found %s', (_, text) => {
    expect(specifiersOf('a.ts', text, () => {})).toEqual(['./x.ts']);
  });

  it('are not what documentation shows', () => {
    expect(specifiersOf('a.ts', "/** @example import { x } from './x.ts'; */\nexport const a = 1;", () => {})).toEqual(
      [],
    );
  });

  it('are told of where they are no literals', () => {
    const lines: number[] = [];
    expect(specifiersOf('a.ts', '\nconst x = import(name);', (line) => lines.push(line))).toEqual([]);
    expect(lines).toEqual([2]);
  });
});
