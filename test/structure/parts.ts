import { findCircles, type Graph } from './circles.ts';

/** Name that a file imports from another. */
export interface NamedImport {
  /** Path of the importing file, below the folder of the parts. */
  readonly from: string;
  readonly to: string;
  /** Name as exported; undefined for all names, and for an import that names none. */
  readonly name: string | undefined;
}

/** Maximum names that all other parts together import from an index. */
export const MAX_NAMES = 25;

/**
 * Checks the folders of a package that is cut into parts. A part is imported through its `index.ts` only. Files beside the parts
 * are the face of the package: they use the indexes, and their names do not count.
 * @returns one line for each violation
 * @example
 *   partViolations([{ from: 'a/x.ts', to: 'b/y.ts', name: 'y' }]); // => ['a/x.ts: imports b/y.ts; other parts import b/index.ts.']
 */
export function partViolations(imports: readonly NamedImport[]): readonly string[] {
  const crossing = imports.filter(({ from, to }) => partOf(to) !== undefined && partOf(from) !== partOf(to));
  const past = new Set(
    crossing
      .filter(({ to }) => to !== `${partOf(to)}/index.ts`)
      .map(({ from, to }) => `${from}: imports ${to}; other parts import ${partOf(to)}/index.ts.`),
  );
  const faces = new Map<string, Set<string>>();
  const reached = new Map<string, Set<string>>();
  const unnamed = new Set<string>();
  for (const { from, to, name } of crossing) {
    const [own, other] = [partOf(from), partOf(to)!];
    if (own === undefined) continue;
    reached.set(own, (reached.get(own) ?? new Set()).add(other));
    if (name === undefined) unnamed.add(`${from}: imports ${to} without naming what.`);
    else faces.set(other, (faces.get(other) ?? new Set()).add(name));
  }
  return [
    ...past,
    ...unnamed,
    ...[...faces].flatMap(([part, { size }]) =>
      size > MAX_NAMES ? [`${part}/index.ts: other parts import ${size} names; at most ${MAX_NAMES}.`] : [],
    ),
    ...circlesOf(reached),
    ...unused(imports),
  ];
}

/** First folder of a path; undefined for a file beside the parts. */
function partOf(path: string): string | undefined {
  return path.includes('/') ? path.split('/')[0] : undefined;
}

function circlesOf(reached: Graph): readonly string[] {
  return findCircles(reached).map((circle) => `${circle[0]}: circle of parts: ${circle.join(' -> ')}`);
}

/** Lists names of an index that no other part imports, and exports without a name. */
function unused(imports: readonly NamedImport[]): readonly string[] {
  const indexes = imports.filter(({ from }) => from === `${partOf(from)}/index.ts`);
  const used = new Set(imports.map(({ to, name }) => `${to} ${name}`));
  return indexes.flatMap(({ from, name }) => {
    if (name === undefined) return [`${from}: exports without naming what.`];
    return used.has(`${from} ${name}`) ? [] : [`${from}: exports ${name}, which no other part imports.`];
  });
}
