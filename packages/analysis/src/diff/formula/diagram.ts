/**
 * Represents sets of calls as decision diagrams. Each node tests one field, whose values are divided into numbered
 * classes, and has a successor node for each class. Equal sets share a node, so a single comparison shows whether two
 * rule sets are equal or a difference is empty. Based on R. Bryant, "Graph-Based Algorithms for Boolean Function
 * Manipulation" (1986), with many-valued variables.
 *
 * Class 0 represents all classes that a node does not list, so a rule about one of a thousand values needs only one
 * entry.
 */
import { MeshpassError } from '@meshpass/identity';
import { PairMap } from './pair-map.ts';

export type Node = number;
export const NONE: Node = 0;
export const EVERY: Node = 1;

/** A combination of field values. Fields that do not matter are omitted. */
export type Product = ReadonlyMap<number, ClassSet>;

/** A set of classes of a single field. If `rest` is true, it consists of all classes except the listed ones. */
export interface ClassSet {
  readonly classes: ReadonlySet<number>;
  readonly rest: boolean;
}

/**
 * The maximum number of nodes in a diagram. No known mesh needs this many, and a diagram of this size still fits in
 * memory.
 */
const MAX_NODES = 4_000_000;

export class Diagram {
  readonly #field: number[] = [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER];
  readonly #rest: Node[] = [NONE, EVERY];
  /**
   * The classes that each node lists, in ascending order. Their successor nodes are stored in `#nodes`, in the same
   * order.
   */
  readonly #classes: (readonly number[])[] = [[], []];
  readonly #nodes: (readonly Node[])[] = [[], []];
  /** All nodes, grouped by the hash of their content. Nodes with the same hash share a list. */
  readonly #known = new Map<number, Node[]>();
  readonly #and = new PairMap();
  readonly #minus = new PairMap();
  readonly #or = new PairMap();

  /**
   * Returns the calls in which the value of `field` belongs to one of `classes`.
   * @param classes the classes of the field, which may include class 0
   * @param total the number of classes that the field has
   */
  among(field: number, classes: Iterable<number>, total: number): Node {
    const listed = [...new Set(classes)].sort((a, b) => a - b);
    if (listed[0] !== 0) return this.#make(field, NONE, listed, new Array<Node>(listed.length).fill(EVERY));
    const inside = new Set(listed);
    const outside: number[] = [];
    for (let one = 1; one < total; one++) if (!inside.has(one)) outside.push(one);
    return this.#make(field, EVERY, outside, new Array<Node>(outside.length).fill(NONE));
  }

  and(a: Node, b: Node): Node {
    if (a === b || b === EVERY) return a;
    if (a === NONE || b === NONE) return NONE;
    if (a === EVERY) return b;
    if (this.#isNarrow(a) && this.#field[a] === this.#field[b])
      return this.#narrow(a, (x, one) => this.and(x, this.#next(b, one)));
    if (this.#isNarrow(b) && this.#field[a] === this.#field[b])
      return this.#narrow(b, (x, one) => this.and(x, this.#next(a, one)));
    return this.#apply(this.#and, a < b ? a : b, a < b ? b : a, (x, y) => this.and(x, y));
  }

  or(a: Node, b: Node): Node {
    if (a === b || b === NONE) return a;
    if (a === EVERY || b === EVERY) return EVERY;
    if (a === NONE) return b;
    return this.#apply(this.#or, a < b ? a : b, a < b ? b : a, (x, y) => this.or(x, y));
  }

  /** Returns the calls that are in `a` but not in `b`. */
  minus(a: Node, b: Node): Node {
    if (a === b || a === NONE || b === EVERY) return NONE;
    if (b === NONE) return a;
    if (this.#isNarrow(a) && this.#field[a] === this.#field[b])
      return this.#narrow(a, (x, one) => this.minus(x, this.#next(b, one)));
    return this.#apply(this.#minus, a, b, (x, y) => this.minus(x, y));
  }

  not(a: Node): Node {
    return this.minus(EVERY, a);
  }

  /** Computes the union of the sets pair by pair, which keeps the intermediate results small. */
  orAll(sets: readonly Node[]): Node {
    if (sets.length === 0) return NONE;
    if (sets.length === 1) return sets[0]!;
    const middle = sets.length >> 1;
    return this.or(this.orAll(sets.slice(0, middle)), this.orAll(sets.slice(middle)));
  }

  andAll(sets: readonly Node[]): Node {
    return sets.reduce((all, one) => this.and(all, one), EVERY);
  }

  /**
   * Whether a set contains a call.
   * @param classOf returns the class of the call's value for a given field
   */
  has(set: Node, classOf: (field: number) => number): boolean {
    let node = set;
    while (node > EVERY) node = this.#next(node, classOf(this.#field[node]!));
    return node === EVERY;
  }

  /** Yields disjoint products that together make up the set. */
  *products(set: Node, so: ReadonlyMap<number, ClassSet> = new Map()): Generator<Product> {
    if (set === NONE) return;
    if (set === EVERY) {
      yield so;
      return;
    }
    const byNode = new Map<Node, number[]>();
    const listed = this.#classes[set]!;
    listed.forEach((one, index) => {
      const next = this.#nodes[set]![index]!;
      const classes = byNode.get(next);
      if (classes) classes.push(one);
      else byNode.set(next, [one]);
    });
    const field = this.#field[set]!;
    const rest = this.#rest[set]!;
    // Nodes do not list classes that have the same successor as the rest, so the products below are disjoint.
    for (const [next, classes] of byNode)
      yield* this.products(next, new Map([...so, [field, { classes: new Set(classes), rest: false }]]));
    yield* this.products(rest, new Map([...so, [field, { classes: new Set(listed), rest: true }]]));
  }

  /** Returns the calls that a product describes. */
  ofProduct(product: Product): Node {
    return this.andAll(
      [...product].map(([field, { classes, rest }]) => {
        // The total is not needed because nodes never list class 0, which represents the rest.
        const listed = this.among(field, classes, 0);
        return rest ? this.not(listed) : listed;
      }),
    );
  }

  get size(): number {
    return this.#field.length;
  }

  /** Returns the successor of a node for a given class of the field that the node tests. */
  #next(node: Node, one: number): Node {
    const at = find(this.#classes[node]!, one);
    return at < 0 ? this.#rest[node]! : this.#nodes[node]![at]!;
  }

  /** Whether a node accepts exactly one class, which is true for most values in rules. */
  #isNarrow(node: Node): boolean {
    return this.#rest[node] === NONE && this.#classes[node]!.length === 1;
  }

  /** Replaces the only successor of a narrow node. This is cheaper than adding an entry to the cache. */
  #narrow(node: Node, change: (next: Node, one: number) => Node): Node {
    const classes = this.#classes[node]!;
    const next = change(this.#nodes[node]![0]!, classes[0]!);
    return next === NONE ? NONE : this.#make(this.#field[node]!, NONE, classes, [next]);
  }

  #apply(cache: PairMap, a: Node, b: Node, combine: (a: Node, b: Node) => Node): Node {
    const known = cache.get(a, b);
    if (known !== undefined) return known;
    const field = Math.min(this.#field[a]!, this.#field[b]!);
    const [restA, restB] = [this.#restAt(a, field), this.#restAt(b, field)];
    const [classesA, classesB] = [this.#classesAt(a, field), this.#classesAt(b, field)];
    const [nodesA, nodesB] = [this.#nodes[a]!, this.#nodes[b]!];
    const rest = combine(restA, restB);
    const classes: number[] = [];
    const nodes: Node[] = [];
    for (let i = 0, j = 0; i < classesA.length || j < classesB.length; ) {
      const [x, y] = [classesA[i] ?? Number.POSITIVE_INFINITY, classesB[j] ?? Number.POSITIVE_INFINITY];
      const next = combine(x <= y ? nodesA[i]! : restA, y <= x ? nodesB[j]! : restB);
      if (next !== rest) {
        classes.push(Math.min(x, y));
        nodes.push(next);
      }
      if (x <= y) i++;
      if (y <= x) j++;
    }
    const made = this.#make(field, rest, classes, nodes);
    cache.set(a, b, made);
    return made;
  }

  /**
   * Returns the successor of a node for all classes that it does not list, or the node itself if it does not test the
   * field.
   */
  #restAt(node: Node, field: number): Node {
    return this.#field[node] === field ? this.#rest[node]! : node;
  }

  #classesAt(node: Node, field: number): readonly number[] {
    return this.#field[node] === field ? this.#classes[node]! : [];
  }

  /** Returns the node with the given content, and creates it if it does not exist yet. */
  #make(field: number, rest: Node, classes: readonly number[], nodes: readonly Node[]): Node {
    if (classes.length === 0) return rest;
    const hash = hashOf(field, rest, classes, nodes);
    const alike = this.#known.get(hash);
    for (const node of alike ?? []) {
      if (this.#field[node] !== field || this.#rest[node] !== rest) continue;
      if (isSame(this.#classes[node]!, classes) && isSame(this.#nodes[node]!, nodes)) return node;
    }
    const made = this.#field.length;
    if (made >= MAX_NODES)
      throw new MeshpassError(
        'policy_too_large',
        'There are too many policies, or they are too complex, to compare at once.',
      );
    this.#field.push(field);
    this.#rest.push(rest);
    this.#classes.push(classes);
    this.#nodes.push(nodes);
    if (alike) alike.push(made);
    else this.#known.set(hash, [made]);
    return made;
  }
}

function find(sorted: readonly number[], wanted: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const value = sorted[middle]!;
    if (value === wanted) return middle;
    if (value < wanted) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

/** Computes the FNV-1a hash of a node's content. */
function hashOf(field: number, rest: Node, classes: readonly number[], nodes: readonly Node[]): number {
  let hash = Math.imul(Math.imul(field ^ 0x811c9dc5, 0x01000193) ^ rest, 0x01000193);
  for (const one of classes) hash = Math.imul(hash ^ one, 0x01000193);
  for (const one of nodes) hash = Math.imul(hash ^ one, 0x01000193);
  return hash;
}
