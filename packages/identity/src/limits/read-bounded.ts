/** Reads bodies and lines up to a maximum size, because the peer might never stop sending. */

export class StreamTooLargeError extends Error {}

/**
 * Reads a stream to its end.
 * @param most the maximum size in bytes
 * @throws StreamTooLargeError if the stream is larger. The stream is closed first. Errors of the stream are rethrown
 */
export async function readBounded(stream: AsyncIterable<Uint8Array>, most: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.byteLength;
    if (size > most) throw new StreamTooLargeError(`the response is larger than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The initial size of a line reader's buffer, in bytes. */
const SMALL = 4_096;

/**
 * Creates a reader of the lines of a byte stream. Each line is limited to the length that is currently expected.
 * @param limit returns the current maximum line length in bytes. Called for each line
 */
export function createLineReader(limit: () => number) {
  // A single buffer, which doubles in size when it is full. If each chunk had its own buffer, a peer that sends single
  // bytes could make us allocate a hundred times as much memory as it sends.
  let line = Buffer.allocUnsafeSlow(SMALL);
  let held = 0;
  return {
    /**
     * Calls `take` with each complete line.
     * @returns false if a line exceeds the limit
     */
    push(chunk: Buffer, take: (line: string) => void) {
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        if (held + end - start > limit()) return false;
        hold(chunk, start, end);
        const text = line.toString('utf8', 0, held);
        if (line.length > SMALL) line = Buffer.allocUnsafeSlow(SMALL);
        held = 0;
        start = end + 1;
        take(text);
      }
      if (held + chunk.length - start > limit()) return false;
      hold(chunk, start, chunk.length);
      return true;
    },
  };

  function hold(chunk: Buffer, start: number, end: number): void {
    const needed = held + end - start;
    if (needed > line.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, line.length * 2));
      line.copy(larger, 0, 0, held);
      line = larger;
    }
    chunk.copy(line, held, start, end);
    held = needed;
  }
}
