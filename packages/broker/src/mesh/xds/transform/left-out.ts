/** Counts the parts of istiod's resources that are withheld from workspaces. */

export interface LeftOutCount {
  /** The part that was left out, as a type URL, a field name or a short reason. */
  readonly what: string;
  /** The kind of resource that it was left out of, such as `Listener`. */
  readonly where: string;
  readonly count: number;
}

export type LeftOutCounter = ReturnType<typeof createLeftOutCounter>;

/** The maximum number of separate counts, because EnvoyFilters could cause an unlimited number of them. */
const MAX_KINDS = 64;
const OTHERS = 'others';
const MAX_TEXT = 200;

/** Creates a counter that has not counted anything yet. */
export function createLeftOutCounter() {
  const counted = new Map<string, LeftOutCount>();
  return {
    add: (given: string, where: string, count = 1) => {
      const known = counted.has(`${where} ${given.slice(0, MAX_TEXT)}`);
      const what = known || counted.size < MAX_KINDS ? given.slice(0, MAX_TEXT) : OTHERS;
      const key = `${where} ${what}`;
      counted.set(key, { what, where, count: (counted.get(key)?.count ?? 0) + count });
    },
    all: () => [...counted.values()].sort((a, b) => compare(a.where, b.where) || compare(a.what, b.what)),
  };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
