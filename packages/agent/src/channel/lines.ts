/** Lines of a byte stream, none longer than what is expected at the moment. */

export interface LineReader {
  /** Calls `take` with each line that is complete. @returns false where a line is longer than the limit */
  push(chunk: Buffer, take: (line: string) => void): boolean;
}

/** @param limit longest line now, bytes; asked for each line */
export function createLineReader(limit: () => number): LineReader {
  let parts: Buffer[] = [];
  let held = 0;
  return {
    push(chunk, take) {
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        if (held + end - start > limit()) return false;
        parts.push(chunk.subarray(start, end));
        const line = Buffer.concat(parts).toString('latin1');
        parts = [];
        held = 0;
        start = end + 1;
        take(line);
      }
      if (start < chunk.length) parts.push(chunk.subarray(start));
      held += chunk.length - start;
      return held <= limit();
    },
  };
}
