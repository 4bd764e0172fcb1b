/** Splits a byte stream into lines of bounded length (NDJSON). */

/**
 * Yields the lines of a stream. Empty lines are skipped.
 * @param limit maximum bytes per line
 * @throws Error if a line is longer
 */
export async function* readLines(chunks: AsyncIterable<Buffer>, limit: number): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let held = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      if (held + end - start > limit) throw new Error(`a line is longer than ${limit} bytes`);
      parts.push(chunk.subarray(start, end));
      const line = Buffer.concat(parts).toString('utf8');
      if (line) yield line;
      parts = [];
      held = 0;
      start = end + 1;
    }
    held += chunk.length - start;
    if (held > limit) throw new Error(`a line is longer than ${limit} bytes`);
    parts.push(chunk.subarray(start));
  }
}
