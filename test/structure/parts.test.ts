import { describe, expect, it } from 'vitest';
import { MAX_NAMES, type NamedImport, partViolations } from './parts.ts';

const from = (from: string, to: string, name: string | undefined): NamedImport => ({ from, to, name });
/** An index with a name, and a part that imports it. */
const honest = [from('b/index.ts', 'b/y.ts', 'y'), from('a/x.ts', 'b/index.ts', 'y')];

describe('parts of a package', () => {
  it('are used through their indexes', () => {
    expect(partViolations(honest)).toEqual([]);
  });
  it('are not imported past their indexes, even by the face of the package', () => {
    expect(partViolations([...honest, from('a/x.ts', 'b/y.ts', 'y'), from('index.ts', 'b/y.ts', 'y')])).toEqual([
      'a/x.ts: imports b/y.ts; other parts import b/index.ts.',
      'index.ts: imports b/y.ts; other parts import b/index.ts.',
    ]);
  });
  it('may import their own files', () => {
    expect(partViolations([...honest, from('b/z.ts', 'b/deep/y.ts', 'y')])).toEqual([]);
  });
  it('are not imported as a whole', () => {
    expect(partViolations([...honest, from('a/x.ts', 'b/index.ts', undefined)])).toEqual([
      'a/x.ts: imports b/index.ts without naming what.',
    ]);
  });
  it('form no circle', () => {
    const back = [from('a/index.ts', 'a/x.ts', 'x'), from('b/y.ts', 'a/index.ts', 'x')];
    expect(partViolations([...honest, ...back])).toEqual(['a: circle of parts: a -> b -> a']);
  });
  it('offer a limited number of names to all other parts together', () => {
    const names = Array.from({ length: MAX_NAMES + 1 }, (_, index) => `n${index}`);
    const offered = names.flatMap((name, index) => [
      from('b/index.ts', 'b/y.ts', name),
      from(index % 2 === 0 ? 'a/x.ts' : 'c/x.ts', 'b/index.ts', name),
    ]);
    expect(partViolations(offered.slice(0, -2))).toEqual([]);
    expect(partViolations(offered)).toEqual([`b/index.ts: other parts import 26 names; at most 25.`]);
  });
  it('do not count names that only the face of the package imports', () => {
    const names = Array.from({ length: MAX_NAMES + 1 }, (_, index) => `n${index}`);
    const offered = names.flatMap((name) => [from('b/index.ts', 'b/y.ts', name), from('index.ts', 'b/index.ts', name)]);
    expect(partViolations(offered)).toEqual([]);
  });
  it('export by name, and only what is imported', () => {
    const hidden = [from('b/index.ts', 'b/z.ts', undefined), from('b/index.ts', 'b/y.ts', 'spare')];
    expect(partViolations([...honest, ...hidden])).toEqual([
      'b/index.ts: exports without naming what.',
      'b/index.ts: exports spare, which no other part imports.',
    ]);
  });
});
