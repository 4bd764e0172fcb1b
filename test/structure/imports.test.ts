import { describe, expect, it } from 'vitest';
import { namesOf, specifiersOf } from './imports.ts';

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

  it('exclude examples in documentation', () => {
    expect(specifiersOf('a.ts', "/** @example import { x } from './x.ts'; */\nexport const a = 1;", () => {})).toEqual(
      [],
    );
  });

  it('are reported if they are not literals', () => {
    const lines: number[] = [];
    expect(specifiersOf('a.ts', '\nconst x = import(name);', (line) => lines.push(line))).toEqual([]);
    expect(lines).toEqual([2]);
  });
});

describe('the names that a module imports', () => {
  it.each([
    ["import { type B, c as d } from './b.ts';", ['B', 'c']],
    ["import type { B } from './b.ts';", ['B']],
    ["import b from './b.ts';", ['default']],
    ["import * as b from './b.ts';", [undefined]],
    ["import './b.ts';", []],
    ["export { b, type C as D } from './b.ts';", ['b', 'C']],
    ["export * from './b.ts';", [undefined]],
    ["export * as b from './b.ts';", [undefined]],
    ['export const a = 1;', []],
  ])('%s', (text, names) => {
    expect(namesOf('a.ts', text)).toEqual(names.map((name) => ({ specifier: './b.ts', name })));
  });
});
