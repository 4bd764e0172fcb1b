/** Random changes at any depth of a message. */
import { create, type DescField, type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { type ReflectList, type ReflectMap, type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageType, registry, TYPE_URL_PREFIX } from '../src/index.ts';

/** Returns a random integer from 0 up to, but not including, `bound`. */
export type Random = (bound: number) => number;

/** Creates a deterministic random source (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

const TEXTS = [
  '',
  'x',
  '*',
  'example.com',
  'tunnel/dev',
  'dev/x',
  'agent',
  '/etc/passwd',
  '%ENVIRONMENT(HOME)%',
  '%REQ(x)%',
];
const KNOWN = [...registry].filter((one) => one.kind === 'message').map(({ typeName }) => typeName);

/**
 * Applies random changes.
 * @param times number of changes, each at its own place
 */
export function mutate(resource: Any, random: Random, times: number): Any {
  const type = messageType(resource.typeUrl.slice(TYPE_URL_PREFIX.length));
  const message = fromBinary(type, resource.value);
  for (let change = 0; change < times; change++) into(reflect(type, message), random, 0);
  return { ...resource, value: toBinary(type, message) };
}

/** Descends along a random path and changes its end. */
function into(message: ReflectMessage, random: Random, depth: number): void {
  const isAny = message.desc.typeName === 'google.protobuf.Any';
  if (isAny && random(8) > 0 && inAny(message.message as Any, random, depth)) return;
  const inner = isAny ? [] : innerOf(message);
  const next = inner[random(inner.length + 1)];
  if (next && depth < 40 && random(6) > 0) into(next, random, depth + 1);
  else change(message, random);
}

function inAny(any: Any, random: Random, depth: number): boolean {
  const type = registry.getMessage(any.typeUrl.slice(TYPE_URL_PREFIX.length));
  if (!type) return false;
  const inner = read(type, any.value);
  if (!inner) return false;
  into(reflect(type, inner), random, depth + 1);
  any.value = toBinary(type, inner);
  return true;
}

/** Decodes a message; undefined if an earlier change of its type left bytes of another one. */
function read(type: DescMessage, bytes: Uint8Array): Message | undefined {
  try {
    return fromBinary(type, bytes);
  } catch {
    return undefined;
  }
}

function innerOf(message: ReflectMessage): ReflectMessage[] {
  const all = message.fields
    .filter((field) => message.isSet(field))
    .flatMap((field) => {
      const value = message.get(field);
      if (field.fieldKind === 'list') return [...(value as ReflectList)];
      return field.fieldKind === 'map' ? [...(value as ReflectMap).values()] : [value];
    });
  return all.filter(isPlainMessage);
}

/** Whether a value is a message that reflection does not convert; changes to converted messages would be lost. */
function isPlainMessage(value: unknown): value is ReflectMessage {
  if (typeof value !== 'object' || value === null || !('desc' in value)) return false;
  const name = (value as ReflectMessage).desc.typeName;
  return !name.startsWith('google.protobuf.') || name === 'google.protobuf.Any';
}

function change(message: ReflectMessage, random: Random): void {
  const fields = message.fields;
  if (fields.length === 0 || random(12) === 0) {
    message.setUnknown([{ no: 19_000, wireType: 2, data: Uint8Array.of(1, 120) }]);
    return;
  }
  const set = fields.filter((one) => message.isSet(one));
  const field = (random(3) > 0 && set.length > 0 ? set[random(set.length)] : fields[random(fields.length)])!;
  if (message.isSet(field) && random(5) === 0) message.clear(field);
  else if (field.fieldKind === 'list') changeList(message.get(field) as ReflectList, field, random);
  else if (field.fieldKind === 'map') setEntry(message.get(field) as ReflectMap, field, random);
  else message.set(field, randomValue(field, random));
}

function changeList(list: ReflectList, field: DescField & { fieldKind: 'list' }, random: Random): void {
  if (list.size > 0 && random(2) === 0) list.add(list.get(random(list.size)));
  else list.add(randomValue(field, random));
}

function setEntry(map: ReflectMap, field: DescField & { fieldKind: 'map' }, random: Random): void {
  map.set(field.mapKey === 9 ? TEXTS[random(TEXTS.length)]! : random(9), randomValue(field, random));
}

/** Returns a random value of the field's type, of its item type, or of its map value type. */
function randomValue(field: DescField, random: Random): unknown {
  if (field.message) return messageFor(field.message.typeName, random);
  if (field.enum) return random(4) === 0 ? 77 : field.enum.values[random(field.enum.values.length)]!.number;
  switch (field.scalar) {
    case 9:
      return TEXTS[random(TEXTS.length)];
    case 8:
      return random(2) === 0;
    case 12:
      return Buffer.from(TEXTS[random(TEXTS.length)]!);
    case 3:
    case 4:
    case 6:
    case 16:
    case 18:
      return BigInt(random(2 ** 31));
    default:
      return random(2 ** 31);
  }
}

function messageFor(name: string, random: Random): ReflectMessage {
  const type = messageType(name);
  const message = create(type) as Message;
  if (name === 'google.protobuf.Any') {
    const inner = KNOWN[random(KNOWN.length)]!;
    const typeUrl = random(4) === 0 ? 'type.googleapis.com/somebodys.Filter' : TYPE_URL_PREFIX + inner;
    Object.assign(message, { typeUrl, value: new Uint8Array() });
  }
  return reflect(type, message);
}
