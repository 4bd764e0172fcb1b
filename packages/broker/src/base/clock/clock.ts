/** The broker's clock and random source. Times inside the broker are in Unix seconds, as in the protocol. */

/** Returns the current time in Unix milliseconds. */
export type Clock = () => number;
/** Returns cryptographically strong random bytes. */
export type Random = (size: number) => Buffer;

/** Converts a date, or the current time of a clock, to Unix seconds. */
export function toUnixSeconds(time: Clock | Date): number {
  return Math.floor((typeof time === 'function' ? time() : time.getTime()) / 1000);
}

/** Formats a time in Unix seconds as RFC 3339, the format used in the store. */
export function timestamp(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString();
}

/** Creates a UUIDv7 (RFC 9562 section 5.7). Such UUIDs sort by their creation time in milliseconds. */
export function uuidv7(clock: Clock, random: Random): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(clock(), 0, 6);
  random(10).copy(bytes, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
