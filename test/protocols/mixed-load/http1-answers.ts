/** Reads the answers on an HTTP/1.1 connection one after the other: enough of RFC 9112 for the answers of a proxy. */
import type { Received } from './tally.ts';

export interface AnswerReader {
  /** @returns the answers that are complete with these bytes. @throws Error if they are no HTTP */
  read(part: Buffer): readonly Received[];
}

export function readAnswers(): AnswerReader {
  let rest: Buffer = Buffer.alloc(0);
  return {
    read: (part) => {
      rest = Buffer.concat([rest, part]);
      const answers: Received[] = [];
      for (let found = firstAnswer(rest); found; found = firstAnswer(rest)) {
        rest = rest.subarray(found.end);
        answers.push(found.answer);
      }
      return answers;
    },
  };
}

function firstAnswer(bytes: Buffer): { answer: Received; end: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const [first, ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(`${first} `)?.[1]);
  if (!status) throw new Error(`not an answer: ${first?.slice(0, 100)}`);
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const body =
    headers['transfer-encoding'] === 'chunked' ? chunked(bytes, headEnd + 4) : sized(bytes, headEnd + 4, headers);
  return body && { answer: { status, headers, body: body.text }, end: body.end };
}

function sized(
  bytes: Buffer,
  start: number,
  headers: Record<string, string>,
): { text: string; end: number } | undefined {
  const end = start + Number(headers['content-length'] ?? 0);
  return bytes.length < end ? undefined : { text: bytes.subarray(start, end).toString(), end };
}

function chunked(bytes: Buffer, start: number): { text: string; end: number } | undefined {
  const parts: Buffer[] = [];
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.subarray(at, lineEnd).toString('latin1'), 16);
    const end = lineEnd + 2 + size + 2;
    if (bytes.length < end) return undefined;
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = end;
    if (size === 0) return { text: Buffer.concat(parts).toString(), end };
  }
}
