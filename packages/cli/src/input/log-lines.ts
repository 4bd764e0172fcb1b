/** Reads log files of any size line by line. */
import { createReadStream } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { unreadableFileError } from './text-file.ts';

/** The maximum length of a line, in UTF-16 code units. For comparison, Envoy limits request headers to 60 KiB. */
const MAX_LINE = 256 * 1024;

/**
 * Calls `read` with each line of a file, or with undefined if a line is too long. Only one chunk of the file and one
 * line are kept in memory at a time.
 * @param flag the flag that specified the file, for error messages
 * @throws MeshpassError `usage` if the file cannot be read
 */
export async function readLines(file: string, flag: string, read: (line: string | undefined) => void): Promise<void> {
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
