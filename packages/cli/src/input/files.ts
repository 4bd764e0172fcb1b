/** Reads the files that command-line flags and arguments refer to. */
import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { describeFileError, type ErrorCode, MeshpassError } from '@meshpass/identity';

/**
 * Reads a text file.
 * @param flag the flag that specified the file, for the error message. Undefined if the file was passed as an argument
 * @throws MeshpassError `code`, which defaults to `usage`
 */
export function readTextFile(file: string, flag?: string, code?: ErrorCode): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw unreadableFileError(file, cause, flag, code);
  }
}

/** Builds an error such as `--jwks: cannot read keys.json: it does not exist.` */
export function unreadableFileError(
  file: string,
  cause: unknown,
  flag?: string,
  code: ErrorCode = 'usage',
): MeshpassError {
  const cannot = flag === undefined ? 'Cannot' : `${flag}: cannot`;
  return new MeshpassError(code, `${cannot} read ${file}: ${describeFileError(cause)}.`, { cause });
}

/**
 * Adds the name of the flag to the errors that `load` throws if a file cannot be read.
 * @throws MeshpassError `code`, for example `--access: cannot read access.yaml: it does not exist.`
 */
export function withFlagName<T>(flag: string, load: () => T, code: ErrorCode = 'config_invalid'): T {
  try {
    return load();
  } catch (cause) {
    if (!(cause instanceof MeshpassError) || cause.code !== 'config_invalid') throw cause;
    throw new MeshpassError(code, `${flag}: ${cause.message.replace(/^Cannot /, 'cannot ')}`, { cause });
  }
}

/**
 * Reads a file line by line.
 * @throws MeshpassError `usage` during the iteration if the file cannot be read
 */
export function fileLines(file: string, flag: string): AsyncIterable<string> {
  return linesOf(createReadStream(file), (cause) => unreadableFileError(file, cause, flag));
}

/** Reads a stream line by line, and throws `failure(cause)` if it fails. */
export async function* linesOf(input: Readable, failure: (cause: unknown) => Error): AsyncGenerator<string> {
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (cause) {
    throw failure(cause);
  }
}

/** The maximum length of a line, in UTF-16 code units. For comparison, Envoy limits request headers to 60 KiB. */
const MAX_LINE = 256 * 1024;

/**
 * Calls `read` with each line of a file, or with undefined if a line is too long. Only one chunk of the file and one
 * line are kept in memory at a time.
 * @param flag the flag that specified the file, for error messages
 * @throws MeshpassError `usage` if the file cannot be read
 */
export async function readBoundedLines(
  file: string,
  flag: string,
  read: (line: string | undefined) => void,
): Promise<void> {
  const decoder = new StringDecoder('utf8');
  let line = '';
  let isTooLong = false;
  const end = () => {
    read(isTooLong ? undefined : line);
    line = '';
    isTooLong = false;
  };
  const add = (text: string) => {
    if (line.length + text.length > MAX_LINE) {
      isTooLong = true;
      line = '';
    } else if (!isTooLong) line += text;
  };
  try {
    for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
      const [first = '', ...others] = decoder.write(chunk).split('\n');
      add(first);
      for (const next of others) {
        end();
        add(next);
      }
    }
  } catch (cause) {
    throw unreadableFileError(file, cause, flag);
  }
  add(decoder.end());
  if (line !== '' || isTooLong) end();
}
