/** Logs of the parts that run inside a test's own process, so that a failure can print their last lines. */

/** Last lines of a part's log. */
export interface PartLog {
  readonly name: string;
  readonly lines: readonly string[];
}

/** A part and its log, as it grows. */
interface Registered {
  readonly name: string;
  readonly read: () => readonly string[];
}

const MAX_LINES = 20;
const MAX_CHARACTERS = 500;

/** Shared by all instances of this module, because `vi.resetModules` makes new ones. */
const REGISTRY = Symbol.for('meshpass.test.part-logs');
const holder = globalThis as { [REGISTRY]?: Registered[] };
holder[REGISTRY] ??= [];
const registry = holder[REGISTRY];

/**
 * Registers the log of a part, so that a failed test prints its last lines. It is forgotten after the test that registered it.
 * @param read returns the lines so far; it is called when a test begins and when a test fails
 * @example addPartLog('broker', () => log)
 */
export function addPartLog(name: string, read: () => readonly string[]): void {
  registry.push({ name, read });
}

/** A position in the logs. */
export interface PartLogMark {
  /** Logs that were registered before the mark, and how many lines each had. */
  readonly lengths: ReadonlyMap<object, number>;
}

/** Marks the present end of all logs. */
export function markPartLogs(): PartLogMark {
  return { lengths: new Map(registry.map((part) => [part, linesOf(part).length])) };
}

/** Returns the last lines of each log that has grown since the mark. */
export function partLogsSince({ lengths }: PartLogMark): PartLog[] {
  return registry.flatMap((part) => {
    const lines = linesOf(part);
    return lines.length > (lengths.get(part) ?? 0) ? [{ name: part.name, lines: lastLines(lines) }] : [];
  });
}

/** Forgets the logs that were registered after the mark, which would otherwise be kept until the end of the file. */
export function forgetPartLogsSince({ lengths }: PartLogMark): void {
  const kept = registry.filter((part) => lengths.has(part));
  registry.splice(0, registry.length, ...kept);
}

/** Returns the last 20 lines, each cut after 500 characters. */
export function lastLines(lines: readonly string[]): string[] {
  return lines
    .slice(-MAX_LINES)
    .map((line) => line.trimEnd())
    .map((line) => (line.length > MAX_CHARACTERS ? `${line.slice(0, MAX_CHARACTERS)}...` : line));
}

function linesOf({ read }: Registered): readonly string[] {
  try {
    return read();
  } catch {
    return []; // a log that cannot be read must not fail a test
  }
}
