/** Nodes that each node reaches in one step. */
export type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * Finds one circle for each set of nodes that all reach one another (strongly connected components; Tarjan 1972).
 * @returns each circle as its nodes in the order in which they are followed, the first one repeated at the end
 * @example
 *   findCircles(new Map([['a', new Set(['b'])], ['b', new Set(['a'])]])); // => [['a', 'b', 'a']]
 */
export function findCircles(graph: Graph): readonly (readonly string[])[] {
  return components(graph).map((nodes) => shortestCircle(graph, nodes));
}

/** The sets of two or more nodes that reach one another. */
function components(graph: Graph): readonly ReadonlySet<string>[] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: Set<string>[] = [];
  const visit = (node: string): void => {
    index.set(node, index.size);
    low.set(node, index.get(node)!);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!index.has(next)) visit(next);
      if (stack.includes(next)) low.set(node, Math.min(low.get(node)!, low.get(next)!));
    }
    if (low.get(node) !== index.get(node)) return;
    const component = new Set(stack.splice(stack.indexOf(node)));
    if (component.size > 1) found.push(component);
  };
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return found;
}

/** Breadth first, from the first node back to itself. */
function shortestCircle(graph: Graph, nodes: ReadonlySet<string>): readonly string[] {
  const [start] = [...nodes].sort();
  const paths: string[][] = [[start!]];
  const seen = new Set<string>();
  for (const path of paths) {
    for (const next of graph.get(path.at(-1)!) ?? []) {
      if (next === start) return [...path, next];
      if (!nodes.has(next) || seen.has(next)) continue;
      seen.add(next);
      paths.push([...path, next]);
    }
  }
  throw new Error(`${start} is on no circle`);
}
