/**
 * Requests of HTTP/1.1 said in HTTP/2 (RFC 9113 section 8.3.1). Only those that both protocols say in the same way: what is
 * odd stays on HTTP/1.1, whose bytes pass as they came.
 */
import type { EncodedField } from './hpack-encode.ts';
import type { Field } from './hpack-table.ts';
import type { RequestHead } from './http1.ts';

export interface RequestFields {
  /** Those that differ from request to request. */
  readonly varying: readonly Field[];
  /** Tells `steady` from every other list. */
  readonly key: string;
  readonly steady: () => readonly EncodedField[];
}

export interface TranslatedRequest {
  readonly fields: RequestFields;
  /** The client asks that its connection end after the response. */
  readonly close: boolean;
}

interface TranslatedLines {
  readonly authority: string;
  readonly fields: readonly EncodedField[];
  readonly close: boolean;
}

/** Origin form, in the characters of RFC 3986. */
const PLAIN_TARGET = /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*$/;
const PLAIN_LINES = /^[\t\x20-\x7e\r\n]*$/;
const PLAIN_CONNECTION = /^(?:keep-alive|close)?$/i;
/** Fields of one connection, and those that ask something of the server that answers next. */
const ODD = new Set(['upgrade', 'te', 'trailer', 'expect', 'transfer-encoding', 'keep-alive', 'http2-settings']);
/** What may be short enough to be guessed: an index for it would show when it is the same (RFC 7541 section 7.1.3). */
const SENSITIVE = new Set(['authorization', 'cookie']);
const MAX_REMEMBERED = 64;
const MAX_REMEMBERED_LENGTH = 16_384;

/** Remembers header lines: a client sends the same ones again and again. */
export class RequestTranslator {
  readonly #remembered = new Map<string, TranslatedLines | undefined>();

  /**
   * @param target what the request line names towards the service
   * @param lines the header lines to send on, each with its CRLF
   * @param inserted header lines that are put in before them
   * @returns undefined for what must stay on HTTP/1.1
   */
  translate(head: RequestHead, target: string, lines: string, inserted: string): TranslatedRequest | undefined {
    if (head.minor !== 1 || head.upgrade || head.body === 'chunked' || head.method === 'CONNECT') return undefined;
    if (!PLAIN_TARGET.test(target)) return undefined;
    const all = inserted + lines;
    const translated = this.#translateLines(all);
    if (!translated) return undefined;
    const { authority, fields, close } = translated;
    return {
      close,
      fields: {
        varying: [{ name: ':path', value: target }],
        key: `${head.method} ${all}`,
        // The scheme that Envoy gives to HTTP/1.1 on a TLS connection.
        steady: () => [
          ...[
            { name: ':method', value: head.method },
            { name: ':scheme', value: 'https' },
          ],
          ...[{ name: ':authority', value: authority }, ...fields],
        ],
      },
    };
  }

  #translateLines(lines: string): TranslatedLines | undefined {
    const remembered = this.#remembered.get(lines);
    if (remembered || this.#remembered.has(lines)) return remembered;
    const translated = translateLines(lines);
    if (lines.length <= MAX_REMEMBERED_LENGTH) {
      if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
      this.#remembered.set(lines, translated);
    }
    return translated;
  }
}

function translateLines(lines: string): TranslatedLines | undefined {
  if (!PLAIN_LINES.test(lines)) return undefined;
  let authority: string | undefined;
  let close = false;
  const fields: EncodedField[] = [];
  for (const line of lines.split('\r\n').slice(0, -1)) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).replace(/^[\t ]+|[\t ]+$/g, '');
    if (ODD.has(name)) return undefined;
    if (name === 'host') {
      authority = value;
    } else if (name === 'connection') {
      for (const option of value.split(',')) {
        if (!PLAIN_CONNECTION.test(option.trim())) return undefined;
        close ||= option.trim().toLowerCase() === 'close';
      }
    } else {
      fields.push(SENSITIVE.has(name) ? { name, value, sensitive: true } : { name, value });
    }
  }
  return authority ? { authority, fields, close } : undefined;
}
