/** Holds a message against the allow list. One walk serves both sides: the agent's, which refuses, and the broker's, which leaves out. */
import { type DescEnum, type DescField, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { type ReflectList, type ReflectMap, type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import type { Any } from '@bufbuild/protobuf/wkt';
import { ALLOW_LIST } from './allow/list.ts';
import { shown } from './allow/names.ts';
import type { Check, Context, Entry, Reference, Rule } from './allow/rule.ts';
import { checkText } from './allow/text.ts';
import { type Expected, MAX_DEPTH } from './configuration.ts';
import { messageType, registry, TYPE_URL_PREFIX } from './types.ts';

/** Something that is not accepted. */
export interface Finding {
  /** Type URL of what is not known, or full name of the field. */
  readonly what: string;
  readonly where: string;
  readonly reason: string;
}

export interface Visit {
  readonly expected: Expected | undefined;
  /** Leave out what is not accepted, as little as possible, instead of refusing it. */
  readonly repair: boolean;
  /** What is refused; with `repair`, what was left out. */
  found(finding: Finding): void;
  refer(kind: Reference, name: string): void;
  /** Called for every single value. May throw to end the walk. */
  count(): void;
}

/**
 * Walks a resource. Every `Any` in it is written anew from what was read of it, so that Envoy reads exactly what was checked.
 * @param message is changed
 * @returns why the whole of it is not accepted; undefined where it is, or where `repair` made it so
 */
export function visitResource(message: Message, visit: Visit): Finding | undefined {
  return new Walk(visit).message(reflect(messageType(message.$typeName), message), '', 0);
}

type Result = Finding | undefined;

class Walk {
  readonly #visit: Visit;
  readonly #context: Context;

  constructor(visit: Visit) {
    this.#visit = visit;
    this.#context = { expected: visit.expected, parents: [], refer: visit.refer };
  }

  message(message: ReflectMessage, where: string, depth: number): Result {
    const type = message.desc.typeName;
    const entry = ALLOW_LIST[type];
    if (!entry) return this.#refuse(TYPE_URL_PREFIX + type, where, 'the type is not accepted');
    if (depth > MAX_DEPTH) return this.#refuse(TYPE_URL_PREFIX + type, where, `more than ${MAX_DEPTH} messages deep`);
    this.#context.parents.push(message);
    const failed = this.#parts(message, entry, where, depth);
    this.#context.parents.pop();
    return failed;
  }

  #parts(message: ReflectMessage, entry: Entry, where: string, depth: number): Result {
    let failed: Result;
    const unknown = message.getUnknown();
    if (unknown?.length) {
      const what = `${message.desc.typeName}: field number ${unknown[0]!.no}`;
      const finding = this.#refuse(what, where, 'the field is not known');
      if (entry.whole || !this.#visit.repair) failed = finding;
      else {
        message.setUnknown([]);
        this.#visit.found(finding);
      }
    }
    for (const field of message.fields) {
      if (!message.isSet(field)) continue;
      const at = where === '' ? field.name : `${where}.${field.name}`;
      const rule = ruleOf(entry, field.name);
      const finding = rule
        ? this.#field(message, field, rule, at, depth)
        : this.#refuse(nameOf(field), at, 'the field is not accepted');
      if (!finding) continue;
      const vital = entry.whole || rule?.needed || (!rule && field.oneof !== undefined);
      if (vital || !this.#visit.repair) failed ??= finding;
      else {
        message.clear(field);
        this.#visit.found({ ...finding, where: at });
      }
    }
    if (failed) return failed;
    const missing = missingOf(message, entry);
    if (missing) return this.#refuse(`${message.desc.typeName}.${missing}`, where, `${missing} must be set`);
    const reason = entry.check?.(message, this.#context);
    return reason === undefined ? undefined : this.#refuse(message.desc.typeName, where, reason);
  }

  #field(message: ReflectMessage, field: DescField, rule: Rule, where: string, depth: number): Result {
    if (field.fieldKind === 'list') return this.#list(message.get(field), field, rule, where, depth);
    if (field.fieldKind === 'map') return this.#map(message.get(field), field, rule, where, depth);
    return this.#value(message.get(field), field, field.enum, rule, where, depth, (value) => message.set(field, value));
  }

  #list(list: ReflectList, field: DescField & { fieldKind: 'list' }, rule: Rule, where: string, depth: number): Result {
    const kept: unknown[] = [];
    let failed: Result;
    for (const [index, item] of list.entries()) {
      let value = item;
      const at = `${where}[${index}]`;
      const finding = this.#value(item, field, field.enum, rule, at, depth, (written) => {
        value = written;
        list.set(index, written);
      });
      if (!finding) kept.push(value);
      else if (this.#visit.repair && rule.each) this.#visit.found({ ...finding, where: at });
      else failed ??= finding;
    }
    if (!failed && kept.length < list.size) {
      list.clear();
      for (const item of kept) list.add(item);
    }
    return failed;
  }

  #map(map: ReflectMap, field: DescField & { fieldKind: 'map' }, rule: Rule, where: string, depth: number): Result {
    let failed: Result;
    for (const [key, item] of [...map]) {
      const at = `${where}[${shown(String(key))}]`;
      const reason = checkText(String(key)) ?? rule.keys?.(String(key), this.#context);
      const finding =
        reason === undefined
          ? this.#value(item, field, field.enum, rule, at, depth, (written) => map.set(key, written))
          : this.#refuse(nameOf(field), at, reason);
      if (!finding) continue;
      if (this.#visit.repair && rule.each) {
        map.delete(key);
        this.#visit.found({ ...finding, where: at });
      } else failed ??= finding;
    }
    return failed;
  }

  #value(
    value: unknown,
    field: DescField,
    type: DescEnum | undefined,
    rule: Rule,
    where: string,
    depth: number,
    write: (value: ReflectMessage) => void,
  ): Result {
    this.#visit.count();
    if (isMessage(value)) {
      if (rule.leaf) return this.#checked(value, field, rule, where);
      const inner =
        value.desc.typeName === 'google.protobuf.Any'
          ? this.#any(value, rule, where, depth, write)
          : this.message(value, where, depth + 1);
      return inner ?? this.#checked(value, field, rule, where);
    }
    if (type && !type.values.some(({ number }) => number === value))
      return this.#refuse(nameOf(field), where, `there is no value ${Number(value)}`);
    const text =
      typeof value === 'string'
        ? value
        : value instanceof Uint8Array
          ? Buffer.from(value).toString('latin1')
          : undefined;
    const reason = text === undefined ? undefined : checkText(text);
    return reason === undefined ? this.#checked(value, field, rule, where) : this.#refuse(nameOf(field), where, reason);
  }

  #any(any: ReflectMessage, rule: Rule, where: string, depth: number, write: (value: ReflectMessage) => void): Result {
    const { typeUrl, value } = any.message as Any;
    const name = typeUrl.startsWith(TYPE_URL_PREFIX) ? typeUrl.slice(TYPE_URL_PREFIX.length) : undefined;
    const type = name !== undefined && rule.any?.includes(name) ? registry.getMessage(name) : undefined;
    if (!type) return this.#refuse(typeUrl.slice(0, 200), where, 'the type is not accepted here');
    let inner: Message;
    try {
      inner = fromBinary(type, value, { recursionLimit: Math.max(1, MAX_DEPTH - depth) });
    } catch {
      return this.#refuse(typeUrl, where, 'it cannot be read, or is nested too deep');
    }
    const failed = any.getUnknown()?.length
      ? this.#refuse(typeUrl, where, 'the field is not known')
      : this.message(reflect(type, inner), where, depth + 1);
    if (failed) return failed;
    write(reflect(any.desc, { ...any.message, value: toBinary(type, inner) } as Message));
    return undefined;
  }

  #checked(value: unknown, field: DescField, { check }: Rule, where: string): Result {
    const reason = (check as Check | undefined)?.(value, this.#context);
    return reason === undefined ? undefined : this.#refuse(nameOf(field), where, reason);
  }

  /** Said at once where everything is refused; otherwise by whoever leaves it out. */
  #refuse(what: string, where: string, reason: string): Finding {
    const finding = { what, where, reason };
    if (!this.#visit.repair) this.#visit.found(finding);
    return finding;
  }
}

const ANYTHING: Rule = {};
const free = new WeakMap<Entry, ReadonlySet<string>>();

function ruleOf(entry: Entry, name: string): Rule | undefined {
  const names = free.get(entry) ?? new Set(entry.free?.split(' '));
  free.set(entry, names);
  return entry.fields?.[name] ?? (names.has(name) ? ANYTHING : undefined);
}

/** The first field or choice that must be set, and is not. */
function missingOf(message: ReflectMessage, { set = [], oneOf = [] }: Entry): string | undefined {
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
