/**
 * Parses YAML manifests into plain values. Manifests can come from untrusted sources and contain thousands of objects.
 * Unlike access files, they may use anchors and aliases, but the number of values these expand to is limited. Source
 * positions are only computed on demand, by parsing the text again.
 */
import {
  boolYaml11Tag,
  constructFromEvents,
  EVENT_ID,
  type Event,
  floatCoreTag,
  getScalarValue,
  intCoreTag,
  mapTag,
  mergeTag,
  NOT_RESOLVED,
  nullYaml11Tag,
  parseEvents,
  SCALAR_STYLE,
  Schema,
  seqTag,
  strTag,
  YAMLException,
} from 'js-yaml';
import type { Path } from '../object/object.ts';

const MAX_DEPTH = 64;
/** The maximum number of values that aliases and merge keys can expand to. */
const MAX_ALIASED_NODES = 100_000;

/** Thrown for text that is rejected. It contains the offset of the problem. */
export class YamlError extends Error {
  readonly offset: number;
  /** Whether a limit was exceeded. If not, the text is malformed. */
  readonly bound: boolean;

  constructor(message: string, offset: number, bound = false) {
    super(message);
    this.offset = offset;
    this.bound = bound;
  }
}

/**
 * Parses all YAML documents in a string. An empty document is null or undefined.
 * @throws YamlError if the text is rejected. The error describes the first problem
 */
export function parseYamlValues(text: string): readonly unknown[] {
  try {
    const { joined, events } = parse(text);
    // Without an anchor, there is nothing that an alias could refer to.
    if (joined.includes('&')) checkAliases(joined, events);
    return constructFromEvents(events, { source: joined, schema: SCHEMA, maxTotalMergeKeys: MAX_ALIASED_NODES });
  } catch (thrown) {
    if (!(thrown instanceof YAMLException)) throw thrown;
    const { reason } = thrown;
    const isDeep = reason.includes('maxDepth');
    const message = isDeep ? `nested deeper than ${MAX_DEPTH} levels` : reason;
    throw new YamlError(message, offsetOf(thrown), isDeep || reason.includes('maxTotalMergeKeys'));
  }
}

/** Parses all YAML documents in a string. Returns undefined if the YAML is rejected. */
export function parseYamlDocuments(text: string): readonly unknown[] | undefined {
  try {
    return parseYamlValues(text);
  } catch (thrown) {
    if (thrown instanceof YamlError) return undefined;
    throw thrown;
  }
}

/**
 * Returns the offset of the value at a path in a document, or of its key. If the path does not exist, returns the
 * offset of the nearest ancestor that does.
 * @param text the text, which must have been parsed successfully before
 * @param document the index of the document
 */
export function findOffset(text: string, document: number, path: Path, part: 'key' | 'value'): number {
  const found = indexed(text);
  const { events, documents } = found;
  let at = documents[document] ?? events.length;
  let offset = startOf(events[at]) ?? 0;
  for (const [index, step] of path.entries()) {
    const member = enter(found, at, step);
    if (!member) return offset;
    const last = index === path.length - 1;
    offset = (last && part === 'key' ? member.key : startOf(events[member.value])) ?? member.key ?? offset;
    at = member.value;
  }
  return offset;
}

interface Indexed extends Parsed {
  /** For each event that starts a node, the index of the event after that node. */
  readonly next: Int32Array;
  /** The index of the first event in each document. */
  readonly documents: readonly number[];
  /** The item indexes of each list that has been entered. The key is the index of the list. */
  readonly items: Map<number, readonly number[]>;
}

/** The maximum total length of the texts whose indexes are cached, in characters. */
const MAX_INDEXED = 1_000_000;

/**
 * Caches the indexes of recently queried texts, oldest first. Positions are mostly queried in text order, but a report
 * may alternate between the object of an entry point and those of its routes.
 */
const indexes = new Map<string, Indexed>();
let held = 0;

function indexed(text: string): Indexed {
  const known = indexes.get(text);
  const found = known ?? index(text);
  if (known) indexes.delete(text);
  else held += text.length;
  indexes.set(text, found);
  for (const oldest of indexes.keys()) {
    if (held <= MAX_INDEXED || oldest === text) break;
    indexes.delete(oldest);
    held -= oldest.length;
  }
  return found;
}

function index(text: string): Indexed {
  const { joined, events } = parse(text);
  const documents: number[] = [];
  const next = new Int32Array(events.length);
  const open: number[] = [];
  for (const [index, { type }] of events.entries()) {
    next[index] = index + 1;
    if (type === EVENT_ID.DOCUMENT) documents.push(index + 1);
    if (type === EVENT_ID.POP) next[open.pop()!] = index + 1;
    else if (type !== EVENT_ID.SCALAR && type !== EVENT_ID.ALIAS) open.push(index);
  }
  return { joined, events, next, documents, items: new Map() };
}

interface Parsed {
  /** The YAML text after some of its line breaks were replaced by spaces. All offsets stay the same. */
  readonly joined: string;
  readonly events: Event[];
}

/** The maximum number of characters to parse again for one text, in total. */
const MAX_REREAD = 4_000_000;

/**
 * Parses YAML text into events. YAML requires every line inside brackets to be indented more than its parent.
 * Kubernetes' tools do not, and manifests with a `]` in the first column are common. Such a line is joined with the
 * previous one, which does not change any offsets, and the text is parsed again.
 */
function parse(text: string): Parsed {
  let joined = text;
  for (let read = 0; ; read += text.length + 1) {
    try {
      return { joined, events: parseEvents(joined, { maxDepth: MAX_DEPTH }) };
    } catch (thrown) {
      if (!(thrown instanceof YAMLException)) throw thrown;
      const isIndentation = thrown.reason === 'deficient indentation' && read < MAX_REREAD;
      const next = isIndentation ? joinLine(joined, offsetOf(thrown)) : undefined;
      if (next === undefined) throw thrown;
      joined = next;
    }
  }
}

function offsetOf({ mark }: YAMLException): number {
  return mark?.position ?? 0;
}

/**
 * Joins the line at an offset with the previous line. Returns undefined if the previous line is empty or might end in a
 * comment, because its line break is then significant.
 */
function joinLine(text: string, offset: number): string | undefined {
  const end = text.lastIndexOf('\n', offset - 1);
  const before = text.slice(text.lastIndexOf('\n', end - 1) + 1, Math.max(end, 0));
  if (end < 0 || before.trim() === '' || before.includes('#')) return undefined;
  return `${text.slice(0, end)} ${text.slice(end + 1)}`;
}

const DECIMAL = /^[-+]?(?:0|[1-9][0-9_]*)$/;
const OTHER_BASE = /^([-+]?)0(x[0-9a-fA-F_]+|b[01_]+|o?[0-7_]+)$/;

/**
 * Reads values the way Kubernetes does. Its tools use Go's yaml.v2, for which `on` and `no` are booleans and `0777` is
 * an octal number, but `1:30` is text. An API server rejects such values where a string is required, so the same types
 * have to be inferred here.
 */
const SCHEMA = new Schema([
  strTag,
  seqTag,
  {
    ...mapTag,
    addPair: (map: Record<string, unknown>, key: unknown, value: unknown) => {
      if (typeof key === 'object' && key !== null) return 'a key must be a scalar';
      if (key === '__proto__') return 'the key "__proto__" is not allowed';
      map[String(key)] = value;
      return '';
    },
  },
  nullYaml11Tag,
  boolYaml11Tag,
  { ...intCoreTag, resolve: (word) => integerOf(word) ?? NOT_RESOLVED },
  floatCoreTag,
  mergeTag,
]);

function integerOf(word: string): number | undefined {
  if (DECIMAL.test(word)) return Number(word.replaceAll('_', ''));
  const other = OTHER_BASE.exec(word);
  if (!other) return undefined;
  const digits = other[2]!.replaceAll('_', '');
  const value = Number(/^[xbo]/.test(digits) ? `0${digits}` : `0o${digits}`);
  return other[1] === '-' ? -value : value;
}

/**
 * Limits the number of values that aliases expand to. Also rejects an alias inside the value that it refers to, because
 * that value would contain itself.
 */
function checkAliases(text: string, events: readonly Event[]): void {
  const sizes = new Map<string, number>();
  const open: { readonly anchor: string; size: number }[] = [];
  let expanded = 0;
  const close = (anchor: string, size: number): void => {
    if (anchor !== '') sizes.set(anchor, size);
    const parent = open.at(-1);
    if (parent) parent.size += size;
  };
  const expand = (anchor: string, offset: number): number => {
    const size = sizes.get(anchor);
    if (size === undefined) throw new YamlError(`no anchor &${anchor} precedes this alias`, offset);
    expanded += size;
    if (expanded > MAX_ALIASED_NODES)
      throw new YamlError(`aliases expand to more than ${MAX_ALIASED_NODES} values`, offset, true);
    return size;
  };
  for (const event of events) {
    const anchor = 'anchorStart' in event ? text.slice(event.anchorStart, event.anchorEnd) : '';
    switch (event.type) {
      case EVENT_ID.SCALAR:
        close(anchor, 1);
        break;
      case EVENT_ID.ALIAS:
        close('', expand(anchor, event.anchorStart));
        break;
      case EVENT_ID.POP: {
        const closed = open.pop()!;
        close(closed.anchor, closed.size);
        break;
      }
      default:
        if (event.type === EVENT_ID.DOCUMENT) sizes.clear();
        sizes.delete(anchor);
        open.push({ anchor, size: 1 });
    }
  }
}

/**
 * Finds a member of the collection that starts at the event `at`. Returns the index of the member's event and the
 * offset of its key.
 */
function enter(
  { joined: text, events, next, items }: Indexed,
  at: number,
  step: string | number,
): { readonly key: number | undefined; readonly value: number } | undefined {
  const collection = events[at]?.type;
  const isEnd = (index: number): boolean => (events[index]?.type ?? EVENT_ID.POP) === EVENT_ID.POP;
  if (collection === EVENT_ID.SEQUENCE) {
    let found = items.get(at);
    if (!found) {
      const all: number[] = [];
      for (let item = at + 1; !isEnd(item); item = next[item]!) all.push(item);
      found = all;
      items.set(at, found);
    }
    const value = found[Number(step)];
    return value === undefined ? undefined : { key: undefined, value };
  } else if (collection === EVENT_ID.MAPPING) {
    for (let key = at + 1; !isEnd(key); ) {
      const value = next[key]!;
      const event = events[key]!;
      if (event.type === EVENT_ID.SCALAR && getScalarValue(text, event) === String(step))
        return { key: startOf(event), value };
      key = next[value]!;
    }
  }
  return undefined;
}

function startOf(event: Event | undefined): number | undefined {
  if (!event) return undefined;
  if (event.type === EVENT_ID.SCALAR) {
    const quoted = event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED;
    return event.valueStart < 0 ? undefined : event.valueStart - (quoted ? 1 : 0);
  }
  if (event.type === EVENT_ID.ALIAS) return event.anchorStart;
  return event.type === EVENT_ID.SEQUENCE || event.type === EVENT_ID.MAPPING ? event.start : undefined;
}
