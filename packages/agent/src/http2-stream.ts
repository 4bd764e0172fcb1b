/** One stream of a client's HTTP/2 connection (RFC 9113 section 5): its windows both ways, and a body that waits for them. */

import { FLAG, FRAME, FRAME_BYTES, frame, numberFrame } from './http2-frame.ts';
import type { ResponseHead } from './http2-response.ts';

/** Who a stream belongs to. After the end, trailers or failure nothing more is told. */
export interface StreamOwner {
  /** Interim heads (1xx), then the head. */
  head(head: ResponseHead, end: boolean): void;
  data(bytes: Buffer, end: boolean): void;
  /** Ends the response. @param lines of HTTP/1.1, each with its CRLF */
  trailers(lines: string): void;
  /** All that came in one read has been told. */
  settled(): void;
  /** More of the body can be sent. */
  writable(): void;
  /** @param unprocessed the server says that it has done nothing with the request (sections 6.8 and 8.7) */
  failed(unprocessed: boolean): void;
}

/** What a stream needs of its connection. */
export interface StreamLink {
  send(frame: Buffer): void;
  /** Bytes that all streams together may send now. */
  readonly sendWindow: number;
  /** What was sent has not left yet: more would only pile up here. */
  readonly blocked: boolean;
  spend(bytes: number): void;
  /** The stream is over. */
  left(stream: Http2Stream): void;
}

/** What a server may send while the owner takes nothing, bytes. */
export const STREAM_WINDOW = 262_144;
export const MAX_WINDOW = 0x7fffffff;
const CANCEL = 0x8;

export class Http2Stream {
  readonly id: number;
  readonly owner: StreamOwner;
  /** The head of the response has come. */
  answered = false;
  readonly #link: StreamLink;
  #sendWindow: number;
  #receiveWindow = STREAM_WINDOW;
  /** Bytes that the owner has taken and the server has not been told of. */
  #owed = 0;
  #paused = false;
  #waiting: Buffer[] = [];
  #lastGiven: boolean;
  #endSent: boolean;
  #over = false;

  /** @param whole the request has no body */
  constructor(id: number, owner: StreamOwner, link: StreamLink, sendWindow: number, whole: boolean) {
    this.id = id;
    this.owner = owner;
    this.#link = link;
    this.#sendWindow = sendWindow;
    this.#lastGiven = whole;
    this.#endSent = whole;
  }

  /** Sends a part of the body. false: what cannot leave yet is kept; wait for `writable` */
  write(bytes: Buffer, last: boolean): boolean {
    if (this.#over) return true;
    this.#waiting.push(bytes);
    this.#lastGiven = last;
    return this.#sendWaiting();
  }

  /** The owner takes no more: the server stops when the window is used up. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#giveBack();
  }

  /** Nobody waits for the response any more. */
  cancel(): void {
    if (this.#over) return;
    this.#link.send(numberFrame(FRAME.reset, this.id, CANCEL));
    this.end();
  }

  /** The response is whole. A body that has not left is not wanted any more (section 8.1). */
  finish(): void {
    if (this.#endSent) this.end();
    else this.cancel();
  }

  fail(unprocessed: boolean): void {
    if (this.#over) return;
    this.end();
    this.owner.failed(unprocessed);
  }

  end(): void {
    this.#over = true;
    this.#waiting = [];
    this.#link.left(this);
  }

  /** @param counted bytes, with padding. @throws Error where the server sends more than it may */
  received(counted: number): void {
    this.#receiveWindow -= counted;
    if (this.#receiveWindow < 0) throw new Error('more than the window');
    this.#owed += counted;
  }

  /** @throws Error where the window becomes too large (section 6.9.1) */
  widen(bytes: number): void {
    this.#sendWindow += bytes;
    if (this.#sendWindow > MAX_WINDOW) throw new Error('a window that is too large');
    this.flush();
  }

  /** Sends what waited; tells the owner when nothing waits any more. */
  flush(): void {
    if (this.#waiting.length > 0 && this.#sendWaiting() && !this.#endSent) this.owner.writable();
  }

  /** Lets the server send as much again as the owner has taken, once that is worth a frame. */
  #giveBack(): void {
    if (this.#paused || this.#over || this.#owed < STREAM_WINDOW / 2) return;
    this.#link.send(numberFrame(FRAME.windowUpdate, this.id, this.#owed));
    this.#receiveWindow += this.#owed;
    this.#owed = 0;
  }

  /** Called after the owner has been told of what was received. */
  taken(): void {
    this.#giveBack();
  }

  #sendWaiting(): boolean {
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      const room = Math.min(this.#sendWindow, this.#link.sendWindow, FRAME_BYTES);
      if ((room <= 0 || this.#link.blocked) && first.length > 0) return false;
      const part = first.length > room ? first.subarray(0, room) : first;
      if (part === first) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(room);
      this.#sendWindow -= part.length;
      this.#link.spend(part.length);
      this.#endSent = this.#lastGiven && this.#waiting.length === 0;
      this.#link.send(frame(FRAME.data, this.#endSent ? FLAG.endStream : 0, this.id, part));
    }
    return true;
  }
}
