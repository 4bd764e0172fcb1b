/**
 * Checks a message against the allow list. The agent rejects a message with parts that are not accepted, while the
 * broker removes these parts.
 */
import { type DescField, type DescMessage, fromBinary, type Message, ScalarType, toBinary } from '@bufbuild/protobuf';
import { type ReflectList, type ReflectMap, type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import type { Any } from '@bufbuild/protobuf/wkt';
import { memoize } from '@meshpass/identity';
import { boundsOf, checkDuration } from './allow/bounds.ts';
import { envoyMemoryCost } from './allow/cost.ts';
import { ALLOW_LIST } from './allow/list.ts';
import { quoteUntrusted } from './allow/names.ts';
import type { Check, Context, MessageRule, Reference, Rule } from './allow/rule.ts';
import { type ExpectedValues, type LeftOut, MAX_DEPTH, MAX_VALUES } from './configuration.ts';
import { countValues } from './count-values.ts';
import { messageType, registry, TYPE_URL_PREFIX } from './types.ts';

export interface WalkOptions {
  readonly expected: ExpectedValues | undefined;
  /** Whether to omit rejected parts instead of rejecting the whole message. As few parts as possible are omitted. */
  readonly repair: boolean;
  /** Called for each refusal or, if `repair` is set, for each omission. */
  found(finding: LeftOut): void;
  refer(kind: Reference, name: string): void;
  /** Called with the number of values before they are decoded. It can throw to stop the walk. */
  count(values: number): void;
  /**
   * Called for each message with the amount of memory that Envoy needs for it, in KiB. It can throw to stop the walk.
   */
  spend(kib: number): void;
}

/**
 * Walks a resource. Every `Any` is encoded again from the decoded message, so that Envoy decodes exactly what was
 * checked.
 * @param message the message to check, which is modified in place
 * @returns the reason for rejecting the whole message, or undefined if it is accepted, possibly after `repair`
 */
export function walkResource(message: Message, visit: WalkOptions): LeftOut | undefined {
  return new Walk(visit).message(reflect(messageType(message.$typeName), message), '', 0);
}

type Result = LeftOut | undefined;

class Walk {
  readonly #visit: WalkOptions;
  readonly #context: Context;

  constructor(visit: WalkOptions) {
    this.#visit = visit;
    this.#context = { expected: visit.expected, parents: [], refer: visit.refer };
  }

  message(message: ReflectMessage, where: string, depth: number): Result {
    const type = message.desc.typeName;
    const entry = ALLOW_LIST[type];
    if (!entry) return this.#refuse(TYPE_URL_PREFIX + type, where, 'the type is not accepted');
    if (depth > MAX_DEPTH)
      return this.#refuse(TYPE_URL_PREFIX + type, where, `nested more than ${MAX_DEPTH} messages deep`);
    this.#visit.spend(envoyMemoryCost(message));
    this.#context.parents.push(message);
    const failed = this.#parts(message, entry, where, depth);
    this.#context.parents.pop();
    return failed;
  }

  #parts(message: ReflectMessage, entry: MessageRule, where: string, depth: number): Result {
    let failed = this.#unknown(message, entry, where);
    for (const field of message.fields) {
      if (!message.isSet(field)) continue;
      const at = where === '' ? field.name : `${where}.${field.name}`;
      const rule = ruleOf(entry, field.name);
      const finding = rule
        ? this.#field(message, field, rule, at, depth)
        : this.#refuse(nameOf(field), at, 'the field is not accepted');
      if (!finding) continue;
      if (!this.#visit.repair || isVital(entry, rule, field)) failed ??= finding;
      else {
        message.clear(field);
        this.#visit.found({ ...finding, where: at });
      }
    }
    if (failed && entry.conditions && this.#visit.repair) this.#fewer(message, entry, where, depth);
    return failed ?? this.#complete(message, entry, where);
  }

  #unknown(message: ReflectMessage, entry: MessageRule, where: string): Result {
    const unknown = message.getUnknown();
    if (!unknown?.length) return undefined;
    const what = `${message.desc.typeName}: field number ${unknown[0]!.no}`;
    const finding = this.#refuse(what, where, 'the field is unknown');
    if (entry.whole || !this.#visit.repair) return finding;
    message.setUnknown([]);
    this.#visit.found(finding);
    return undefined;
  }

  /** Checks that the required fields are set, and then checks the message as a whole. */
  #complete(message: ReflectMessage, entry: MessageRule, where: string): Result {
    const missing = missingOf(message, entry);
    if (missing) return this.#refuse(`${message.desc.typeName}.${missing}`, where, `${missing} must be set`);
    const reason = entry.check?.(message, this.#context);
    return reason === undefined ? undefined : this.#refuse(message.desc.typeName, where, reason);
  }

  /**
   * Removes every rejected condition from a rejected message. The remaining conditions match at least the same
   * requests.
   */
  #fewer(message: ReflectMessage, entry: MessageRule, where: string, depth: number): void {
    message.setUnknown([]);
    for (const field of message.fields) {
      if (!message.isSet(field)) continue;
      const rule = ruleOf(entry, field.name);
      if (rule && field.fieldKind === 'list') {
        const list = message.get(field);
        const fit = (item: unknown) => !this.#value(item, field, rule, where, depth, () => {});
        const kept = [...list].filter(fit);
        list.clear();
        for (const item of kept) list.add(item);
      } else if (!rule || this.#field(message, field, rule, where, depth)) message.clear(field);
    }
  }

  #field(message: ReflectMessage, field: DescField, rule: Rule, where: string, depth: number): Result {
    if (field.fieldKind === 'list' || field.fieldKind === 'map') {
      const { size } = message.get(field) as ReflectList | ReflectMap;
      const { items } = boundsOf(field);
      if (size > items) return this.#refuse(nameOf(field), where, `${size} items; at most ${items} are accepted`);
    }
    if (field.fieldKind === 'list') return this.#list(message.get(field), field, rule, where, depth);
    if (field.fieldKind === 'map') return this.#map(message.get(field), field, rule, where, depth);
    return this.#value(message.get(field), field, rule, where, depth, (value) => message.set(field, value));
  }

  #list(list: ReflectList, field: DescField & { fieldKind: 'list' }, rule: Rule, where: string, depth: number): Result {
    const kept: unknown[] = [];
    let failed: Result;
    for (const [index, item] of [...list].entries()) {
      const at = `${where}[${index}]`;
      const write = (written: ReflectMessage) => list.set(index, written);
      const finding = this.#value(item, field, rule, at, depth, write);
      if (finding && !this.#omit(finding, at, rule)) failed ??= finding;
      else if (finding && rule.instead) kept.push(rule.instead(item as ReflectMessage, finding));
      else if (!finding) kept.push(list.get(index));
    }
    if (this.#visit.repair && !failed) {
      list.clear();
      for (const item of kept) list.add(item);
    }
    return failed;
  }

  #map(map: ReflectMap, field: DescField & { fieldKind: 'map' }, rule: Rule, where: string, depth: number): Result {
    let failed: Result;
    const { text } = boundsOf(field);
    for (const [key, item] of [...map]) {
      const at = `${where}[${quoteUntrusted(String(key))}]`;
      const reason = checkText(String(key), text) ?? rule.keys?.(String(key), this.#context);
      const write = (written: ReflectMessage) => map.set(key, written);
      const finding =
        reason === undefined
          ? this.#value(item, field, rule, at, depth, write)
          : this.#refuse(nameOf(field), at, reason);
      if (finding && this.#omit(finding, at, rule)) map.delete(key);
      else failed ??= finding;
    }
    return failed;
  }

  /** Reports that a rejected item is omitted or replaced. Returns whether its rule allows this. */
  #omit(finding: LeftOut, where: string, { each, instead }: Rule): boolean {
    const may = this.#visit.repair && (each ?? instead) !== undefined;
    if (may) this.#visit.found({ ...finding, where });
    return may;
  }

  #value(
    value: unknown,
    field: DescField,
    rule: Rule,
    where: string,
    depth: number,
    write: (value: ReflectMessage) => void,
  ): Result {
    const outOfBounds = checkBounds(value, field);
    if (outOfBounds !== undefined) return this.#refuse(nameOf(field), where, outOfBounds);
    if (isMessage(value)) {
      if (rule.leaf) return this.#checked(value, field, rule, where);
      const inner =
        value.desc.typeName === 'google.protobuf.Any'
          ? this.#any(value, rule, where, depth, write)
          : this.message(value, where, depth + 1);
      return inner ?? this.#checked(value, field, rule, where);
    }
    if (field.enum && !field.enum.values.some(({ number }) => number === value))
      return this.#refuse(nameOf(field), where, `unknown value ${Number(value)}`);
    const text =
      typeof value === 'string'
        ? value
        : value instanceof Uint8Array
          ? Buffer.from(value).toString('latin1')
          : undefined;
    const { text: longest } = boundsOf(field);
    const reason = text === undefined ? undefined : checkText(text, longest);
    return reason === undefined ? this.#checked(value, field, rule, where) : this.#refuse(nameOf(field), where, reason);
  }

  #any(any: ReflectMessage, rule: Rule, where: string, depth: number, write: (value: ReflectMessage) => void): Result {
    const { typeUrl, value } = any.message as Any;
    const name = typeUrl.startsWith(TYPE_URL_PREFIX) ? typeUrl.slice(TYPE_URL_PREFIX.length) : undefined;
    const type = name !== undefined && rule.any?.includes(name) ? registry.getMessage(name) : undefined;
    if (!type) return this.#refuse(typeUrl.slice(0, 200), where, 'the type is not accepted here');
    const inner = decodeMessage(type, value, MAX_DEPTH - depth, (values) => this.#visit.count(values));
    if (!inner) return this.#refuse(typeUrl, where, 'it cannot be decoded, or is nested too deeply');
    const failed = any.getUnknown()?.length
      ? this.#refuse(typeUrl, where, 'the field is unknown')
      : this.message(reflect(type, inner), where, depth + 1);
    if (failed) return failed;
    write(reflect(any.desc, { ...any.message, value: toBinary(type, inner) } as Message));
    return undefined;
  }

  #checked(value: unknown, field: DescField, { check }: Rule, where: string): Result {
    const reason = (check as Check | undefined)?.(value, this.#context);
    return reason === undefined ? undefined : this.#refuse(nameOf(field), where, reason);
  }

  /** Reports a refusal immediately. If `repair` is set, it is reported by the caller that omits the part. */
  #refuse(what: string, where: string, reason: string): LeftOut {
    const finding = { what, where, reason };
    if (!this.#visit.repair) this.#visit.found(finding);
    return finding;
  }
}

/**
 * Counts the values in a message, and then decodes it.
 * @returns the message, or undefined if the bytes are invalid
 */
export function decodeMessage(
  type: DescMessage,
  bytes: Uint8Array,
  depth: number,
  count: (values: number) => void,
): Message | undefined {
  let values = 0;
  try {
    countValues(type, bytes, depth, (more) => {
      values += more;
      if (values > MAX_VALUES) throw new Error('too many');
    });
  } catch {
    if (values <= MAX_VALUES) return undefined;
  }
  count(values);
  try {
    return fromBinary(type, bytes, { recursionLimit: Math.max(1, depth) });
  } catch {
    return undefined;
  }
}

const WRAPPED_NUMBERS = ['google.protobuf.UInt32Value', 'google.protobuf.UInt64Value', 'google.protobuf.DoubleValue'];

/** Checks a duration or a number against the bounds of its field. The value may be wrapped in a message. */
function checkBounds(value: unknown, field: DescField): string | undefined {
  const { typeName } = field.parent;
  if (isMessage(value)) {
    if (value.desc.typeName === 'google.protobuf.Duration') {
      const { seconds, nanos } = value.message as Message & { readonly seconds: bigint; readonly nanos: number };
      return checkDuration(seconds, nanos, boundsOf(field).seconds);
    }
    if (!WRAPPED_NUMBERS.includes(value.desc.typeName)) return undefined;
    const isDouble = value.desc.typeName === 'google.protobuf.DoubleValue';
    return checkNumber((value.message as Message & { readonly value: number | bigint }).value, isDouble, field);
  }
  // The fields of these messages were already checked together with the message.
  if (typeName.startsWith('google.protobuf.') || field.enum) return undefined;
  return checkNumber(value, field.scalar === ScalarType.DOUBLE, field);
}

function checkNumber(value: unknown, isDouble: boolean, field: DescField): string | undefined {
  if (typeof value !== 'bigint' && typeof value !== 'number') return undefined;
  const { integer, double } = boundsOf(field);
  const most = isDouble ? double : integer;
  // This also rejects NaN, because every comparison with NaN is false.
  return Number(value) <= most ? undefined : `${value} is more than ${most}`;
}

/** Explains why a string is too long, or returns undefined if it is not. */
function checkText(text: string, longest: number): string | undefined {
  return text.length > longest ? `text of ${text.length} characters; at most ${longest} are accepted` : undefined;
}

const ANYTHING: Rule = {};
const freeFields = memoize(({ free }: MessageRule): ReadonlySet<string> => new Set(free?.split(' ')));

function ruleOf(entry: MessageRule, name: string): Rule | undefined {
  return entry.fields?.[name] ?? (freeFields(entry).has(name) ? ANYTHING : undefined);
}

/** Whether omitting a field would change the meaning of the message. */
function isVital(entry: MessageRule, rule: Rule | undefined, field: DescField): boolean {
  return entry.whole || rule?.needed || (!rule && field.oneof !== undefined);
}

/** Returns the first required field or oneof that is not set, if any. */
function missingOf(message: ReflectMessage, { set = [], oneOf = [] }: MessageRule): string | undefined {
  const { fields, oneofs } = message.desc;
  const field = set.find((name) => !message.isSet(fields.find((one) => one.name === name)!));
  return field ?? oneOf.find((name) => message.oneofCase(oneofs.find((one) => one.name === name)!) === undefined);
}

function nameOf(field: DescField): string {
  return `${field.parent.typeName}.${field.name}`;
}

function isMessage(value: unknown): value is ReflectMessage {
  return typeof value === 'object' && value !== null && 'desc' in value && 'message' in value;
}
