/** Time and chance, as the broker is given them. Inside, times are Unix seconds as the wire has them. */

/** Milliseconds since the epoch. */
export type Clock = () => number;
/** Cryptographically strong bytes. */
export type Random = (size: number) => Buffer;

export function seconds(clock: Clock): number {
  return Math.floor(clock() / 1000);
}

/** For the store. */
export function timestamp(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString();
}

/** Each time is later than the one before, so that what is sorted by the millisecond that it was made in has an order. */
export function risingClock(clock: Clock): Clock {
  let last = 0;
  return () => {
    last = Math.max(clock(), last + 1);
    return last;
  };
}

/** A UUIDv7 (RFC 9562 section 5.7): sorts by the millisecond it was made in. */
export function uuidv7(clock: Clock, random: Random): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(clock(), 0, 6);
  random(10).copy(bytes, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
