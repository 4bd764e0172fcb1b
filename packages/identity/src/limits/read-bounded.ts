/** Reads a body that the other party may keep sending without end. */

export class StreamTooLargeError extends Error {}

/**
 * Reads a stream to its end.
 * @param most maximum bytes
 * @throws StreamTooLargeError if there are more, after closing the stream; also errors of the stream
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
