/** Reads a body up to a maximum size, because the peer might never stop sending. */

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
