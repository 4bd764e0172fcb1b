/**
 * Parses YAML manifests into plain values. Manifests can come from untrusted sources and contain thousands of objects.
 * Unlike access files, they may use anchors and aliases, but the number of values these expand to is limited. Source
 * positions are only computed on demand, by parsing the text again.
 */
import { EVENT_ID, type Event, getScalarValue, parseEvents, SCALAR_STYLE, YAMLException } from 'js-yaml';
import type { Path } from '../object/object.ts';
import { plainScalar } from './scalar.ts';

export const MAX_DEPTH = 64;
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

interface YamlValues {
  /** The value of each document, or null for an empty document. */
  readonly documents: readonly unknown[];
  /** The offset of each mapping that is a document or an item of a list directly inside a document. */
  readonly starts: ReadonlyMap<unknown, number>;
}

/**
 * Parses all YAML documents in a string.
 * @throws YamlError if the text is rejected. The error describes the first problem
 */
export function parseYamlValues(text: string): YamlValues {
  const { joined, events } = parse(text);
  return build(joined, events);
}

/** Parses all YAML documents in a string. Returns undefined if the YAML is rejected. */
export function parseYamlDocuments(text: string): readonly unknown[] | undefined {
  try {
    return parseYamlValues(text).documents;
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
  readonly events: readonly Event[];
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
      const { reason, mark } = thrown;
      const offset = mark?.position ?? 0;
      const next = reason === 'deficient indentation' && read < MAX_REREAD ? joinLine(joined, offset) : undefined;
      if (next === undefined) throw refusal(reason, offset);
      joined = next;
    }
  }
}

function refusal(reason: string, offset: number): YamlError {
  const deep = reason.includes('maxDepth');
  return new YamlError(deep ? `nested deeper than ${MAX_DEPTH} levels` : reason, offset, deep);
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

interface Frame {
  readonly list: unknown[] | undefined;
  readonly map: Record<string, unknown> | undefined;
  readonly anchor: string | undefined;
  readonly start: number;
  key: string | undefined;
  /** The values of the merge key (`<<`) in a mapping. */
  merges: unknown[] | undefined;
  nodes: number;
}

function build(text: string, events: readonly Event[]): YamlValues {
  const documents: unknown[] = [];
  const starts = new Map<unknown, number>();
  const stack: Frame[] = [];
  let anchors = new Map<string, { readonly value: unknown; readonly nodes: number }>();
  let aliased = 0;
  let root: unknown = null;

  const spend = (nodes: number, offset: number): void => {
    aliased += nodes;
    if (aliased > MAX_ALIASED_NODES)
      throw new YamlError(`aliases expand to more than ${MAX_ALIASED_NODES} values`, offset, true);
  };
  const add = (value: unknown, nodes: number, offset: number): void => {
    const frame = stack.at(-1);
    if (!frame) {
      root = value;
      return;
    }
    frame.nodes += nodes;
    if (frame.list) frame.list.push(value);
    else if (frame.key === undefined) frame.key = keyText(value, offset, frame.map!);
    else {
      if (frame.key === MERGE) frame.merges = [...(frame.merges ?? []), value];
      else frame.map![frame.key] = value;
      frame.key = undefined;
    }
  };
  const addAlias = (start: number, end: number): void => {
    const known = anchors.get(text.slice(start, end));
    if (!known) throw new YamlError(`no anchor &${text.slice(start, end)} precedes this alias`, start);
    spend(known.nodes, start);
    add(known.value, known.nodes, start);
  };
  const close = (frame: Frame): void => {
    if (frame.merges) spend(merge(frame), frame.start);
    const value = frame.list ?? frame.map;
    if (frame.map && (stack.length === 0 || (stack.length === 2 && stack[1]!.list))) starts.set(value, frame.start);
    if (frame.anchor !== undefined) anchors.set(frame.anchor, { value, nodes: frame.nodes });
    add(value, frame.nodes, frame.start);
  };
  const open = (event: Event & { anchorStart: number; anchorEnd: number; start: number }, isList: boolean): void => {
    const anchor = event.anchorStart < 0 ? undefined : text.slice(event.anchorStart, event.anchorEnd);
    stack.push({
      list: isList ? [] : undefined,
      map: isList ? undefined : {},
      anchor,
      start: event.start,
      key: undefined,
      merges: undefined,
      nodes: 1,
    });
  };

  for (const event of events) {
    switch (event.type) {
      case EVENT_ID.SCALAR: {
        const value = scalar(text, event);
        if (event.anchorStart >= 0) anchors.set(text.slice(event.anchorStart, event.anchorEnd), { value, nodes: 1 });
        add(value, 1, event.valueStart);
        break;
      }
      case EVENT_ID.MAPPING:
      case EVENT_ID.SEQUENCE:
        if (event.tagStart >= 0) refuseTag(text, event);
        open(event, event.type === EVENT_ID.SEQUENCE);
        break;
      case EVENT_ID.ALIAS:
        addAlias(event.anchorStart, event.anchorEnd);
        break;
      case EVENT_ID.DOCUMENT:
        anchors = new Map();
        aliased = 0;
        root = null;
        break;
      case EVENT_ID.POP: {
        const frame = stack.pop();
        if (frame) close(frame);
        else documents.push(root);
        break;
      }
    }
  }
  return { documents, starts };
}

const MERGE = '<<';

/**
 * Applies YAML 1.1 merge keys. The mapping's own keys take precedence, and after them those of the mapping that was
 * merged first.
 */
function merge({ map, merges, start }: Frame): number {
  let copied = 0;
  for (const source of merges!.flat()) {
    if (typeof source !== 'object' || source === null || Array.isArray(source))
      throw new YamlError('the value of << must be a mapping', start);
    for (const [key, value] of Object.entries(source)) {
      copied++;
      if (!Object.hasOwn(map!, key)) map![key] = value;
    }
  }
  return copied;
}

function keyText(value: unknown, offset: number, map: Record<string, unknown>): string {
  if (typeof value === 'object' && value !== null) throw new YamlError('a key must be a scalar', offset);
  const key = String(value);
  if (key === '__proto__') throw new YamlError('the key "__proto__" is not allowed', offset);
  if (Object.hasOwn(map, key)) throw new YamlError(`duplicate key ${JSON.stringify(key)}`, offset);
  return key;
}

type Scalar = Extract<Event, { type: typeof EVENT_ID.SCALAR }>;

function scalar(text: string, event: Scalar): unknown {
  const tag = event.tagStart < 0 ? undefined : text.slice(event.tagStart, event.tagEnd);
  if (tag !== undefined && tag !== '!!str' && tag !== '!') refuseTag(text, event);
  const value = getScalarValue(text, event);
  return event.style === SCALAR_STYLE.PLAIN && tag === undefined ? plainScalar(value) : value;
}

function refuseTag(text: string, event: { readonly tagStart: number; readonly tagEnd: number }): never {
  throw new YamlError(`the tag ${text.slice(event.tagStart, event.tagEnd)} is not allowed`, event.tagStart);
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
