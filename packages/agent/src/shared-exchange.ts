/**
 * One exchange of an HTTP/1.1 client over a shared HTTP/2 connection: its request as a stream, the response as HTTP/1.1 again
 * (RFC 9112). A response that breaks off is never made to look whole.
 */
import type { Socket } from 'node:net';
import type { ReachableService } from '@meshpass/identity/wire';
import type { RequestHead } from './http1.ts';
import type { Http2Client } from './http2-client.ts';
import type { TranslatedRequest } from './http2-request.ts';
import type { ResponseHead } from './http2-response.ts';
import type { Http2Stream, StreamOwner } from './http2-stream.ts';
import { POLICY_BODY, policyRefusal, renderRefusal } from './refusal.ts';
import { STATUS_CODES } from './status-codes.ts';

export interface ExchangeOptions {
  readonly client: Socket;
  readonly connection: Http2Client;
  readonly head: RequestHead;
  readonly request: TranslatedRequest;
  readonly service: ReachableService;
  readonly sessionId: string;
  readonly ended: (end: ExchangeEnd) => void;
}

export type ExchangeEnd =
  /** The response is whole. `close`: nothing can follow it on the client's connection. */
  | { readonly kind: 'answered'; readonly close: boolean }
  /** Not a byte of the response was passed on. `unprocessed`: the server has done nothing with the request. */
  | { readonly kind: 'unanswered'; readonly unprocessed: boolean }
  /** In the middle of the response. */
  | { readonly kind: 'broken' };

const CRLF = Buffer.from('\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

export class SharedExchange implements StreamOwner {
  readonly #options: ExchangeOptions;
  readonly #stream: Http2Stream;
  #bodyLeft: number;
  #framing: 'none' | 'length' | 'chunked' = 'none';
  #left = 0;
  #close: boolean;
  /** Rendered and not yet written: what follows in the same read leaves with it. */
  #held = '';
  /** The beginning of what may be the refusal of a policy. */
  #suspect: Buffer | undefined;
  #passed = false;
  #over = false;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    this.#close = options.request.close;
    this.#bodyLeft = Number(options.head.body);
    this.#stream = options.connection.request(options.request.fields, this.#bodyLeft === 0, this);
  }

  /** The next bytes of the request's body. false: the client should wait; it is resumed */
  send(bytes: Buffer): boolean {
    this.#bodyLeft -= bytes.length;
    return this.#stream.write(bytes, this.#bodyLeft === 0);
  }

  /** The client takes more again. */
  drained(): void {
    this.#stream.resume();
  }

  /** The client has gone. */
  cancel(): void {
    this.#over = true;
    this.#stream.cancel();
  }

  head({ status, lines, length }: ResponseHead, end: boolean): void {
    const first = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}`;
    if (status < 200) {
      this.#held += `${first}\r\n`;
      return;
    }
    // What is left of the request's body when it has been answered is lost (RFC 9112 section 9.5).
    if (this.#bodyLeft > 0 && end) this.#close = true;
    const bodiless = this.#options.head.method === 'HEAD' || status === 204 || status === 304;
    let framing = '';
    if (!bodiless) {
      this.#framing = length === undefined && !end ? 'chunked' : 'length';
      this.#left = length ?? 0;
      if (this.#framing === 'chunked') framing = 'transfer-encoding: chunked\r\n';
      else if (length === undefined) framing = 'content-length: 0\r\n';
    }
    this.#held += `${first}${framing}${this.#close ? 'connection: close\r\n' : ''}\r\n`;
    if (end) this.#finish(undefined);
    else if (status === 403 && !bodiless && length === POLICY_BODY.length) this.#suspect = Buffer.alloc(0);
  }

  data(bytes: Buffer, end: boolean): void {
    if (this.#over) return;
    if (this.#suspect) {
      this.#suspect = Buffer.concat([this.#suspect, bytes]);
      const text = this.#suspect.toString('latin1');
      if (!end && POLICY_BODY.startsWith(text)) return;
      const refused = end && text === POLICY_BODY;
      const all = this.#suspect;
      this.#suspect = undefined;
      if (refused) this.#refuse();
      else this.data(all, end);
      return;
    }
    if (this.#framing === 'chunked') {
      const chunk = bytes.length === 0 ? [] : [Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, CRLF];
      if (end) this.#finish(Buffer.concat([...chunk, LAST_CHUNK]));
      else if (chunk.length > 0) this.#write(Buffer.concat(chunk));
      return;
    }
    this.#left -= bytes.length;
    if (this.#left < 0) this.#break();
    else if (end) this.#finish(bytes);
    else if (bytes.length > 0) this.#write(bytes);
  }

  trailers(lines: string): void {
    if (this.#over) return;
    const rest = this.#suspect;
    this.#suspect = undefined;
    if (rest?.length) this.data(rest, false);
    // Only the chunked coding has room for trailers.
    this.#finish(this.#framing === 'chunked' ? Buffer.from(`0\r\n${lines}\r\n`, 'latin1') : undefined);
  }

  settled(): void {
    if (this.#held !== '' && !this.#suspect) this.#write(undefined);
  }

  writable(): void {
    if (!this.#over) this.#options.client.resume();
  }

  failed(unprocessed: boolean): void {
    this.#end(this.#passed ? { kind: 'broken' } : { kind: 'unanswered', unprocessed });
  }

  #refuse(): void {
    const { head, service, sessionId } = this.#options;
    const refusal = policyRefusal(head.method, head.target, service, sessionId);
    this.#held = '';
    this.#left = 0;
    this.#finish(renderRefusal(refusal, { accept: head.accept, sessionId, close: this.#close }));
  }

  #finish(last: Buffer | undefined): void {
    if (this.#left > 0) {
      this.#break();
      return;
    }
    if (last?.length || this.#held !== '') this.#write(last);
    this.#end({ kind: 'answered', close: this.#close || this.#bodyLeft > 0 });
  }

  /** The server's framing contradicts itself. */
  #break(): void {
    this.#stream.cancel();
    this.#end({ kind: 'broken' });
  }

  #end(end: ExchangeEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.ended(end);
  }

  #write(bytes: Buffer | undefined): void {
    if (this.#over) return;
    let all = bytes;
    if (this.#held !== '') {
      const head = Buffer.from(this.#held, 'latin1');
      all = bytes ? Buffer.concat([head, bytes]) : head;
      this.#held = '';
      this.#passed = true;
    }
    if (!this.#options.client.write(all!)) this.#stream.pause();
  }
}
