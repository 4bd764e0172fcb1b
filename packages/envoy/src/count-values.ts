/**
 * Counts the values in a message before decoding it. Two bytes on the wire can become an object of hundreds of bytes in
 * memory.
 */
import type { DescField, DescMessage } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { memoize } from '@meshpass/identity';

/**
 * The number of values that an unknown field counts as. Unknown fields are rejected, and cost more than other fields.
 */
const UNKNOWN = 64;

/**
 * Reads the wire format (protobuf, "Encoding") without storing any of the values.
 * @param depth the maximum depth of nested messages
 * @param count called for every value and every list item. It can throw to stop counting
 * @throws Error if the bytes cannot be decoded or are nested too deeply
 */
export function countValues(
  type: DescMessage,
  bytes: Uint8Array,
  depth: number,
  count: (values: number) => void,
): void {
  const reader = new BinaryReader(bytes);
  message(type, bytes.length, depth);

  function message(type: DescMessage, end: number, left: number): void {
    if (left < 0) throw new Error('nested too deep');
    const fields = fieldsOf(type);
    each(end, (number, length) => {
      const field = fields.get(number);
      if (!field) return count(UNKNOWN);
      count(isPacked(field) ? Math.max(1, length ?? 1) : 1);
      if (length === undefined || !field.message) return;
      if (field.fieldKind === 'map') entry(field.message, reader.pos + length, left);
      else message(field.message, reader.pos + length, left - 1);
    });
  }

  /** Counts a map entry, which is a message with a key and a value (protobuf, "Maps"). */
  function entry(value: DescMessage, end: number, left: number): void {
    each(end, (number, length) => {
      count(1);
      if (number === 2 && length !== undefined) message(value, reader.pos + length, left - 1);
    });
  }

  /**
   * Visits all fields up to a position.
   * @param found called with the number of each field and with its length, if it has one. If the callback does not read
   *   the whole field, the rest of it is skipped
   */
  function each(end: number, found: (number: number, length: number | undefined) => void): void {
    while (reader.pos < end) {
      const [number, wireType] = reader.tag();
      if (wireType === WireType.StartGroup) throw new Error('groups are not used');
      if (wireType !== WireType.LengthDelimited) {
        reader.skip(wireType, number);
        found(number, undefined);
        continue;
      }
      const length = reader.uint32();
      const stop = reader.pos + length;
      if (stop > end) throw new Error('cut short');
      found(number, length);
      reader.pos = stop;
    }
  }
}

/** Whether the numbers in a field share a single length prefix. If so, each number takes at least one byte. */
function isPacked(field: DescField): boolean {
  return field.fieldKind === 'list' && (field.listKind === 'enum' || field.packed);
}

const fieldsOf = memoize(
  (type: DescMessage): ReadonlyMap<number, DescField> => new Map(type.fields.map((field) => [field.number, field])),
);
