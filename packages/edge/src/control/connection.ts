/** An agent's control connection, with bounded frames in both directions. */
import type { TLSSocket } from 'node:tls';
import { AgentFrame, type EdgeFrame, formatFrame, MAX_AGENT_FRAME } from '@meshpass/identity/channel/index';
import { parseJson } from '@meshpass/identity/jws/json';

/** Maximum frames per agent and window. An agent sends one per lease and per configuration. */
const FRAMES = { most: 60, windowMs: 10_000 } as const;
/** Maximum bytes not yet read by an agent, excluding a configuration that is being sent. */
const MAX_BEHIND = 256 * 1024;
/**
 * Bytes of a configuration that are sent at once. All agents with the same configuration share the buffer of the cache,
 * so an agent that does not read costs no more than this and does not delay other agents.
 */
const SLICE = 64 * 1024;
/** Maximum time for an agent to read a configuration, ms. */
const READ_MS = 60_000;

/** Configuration that the broker announced to a session. */
export interface AnnouncedConfiguration {
  readonly set: string;
  readonly digest: string;
}

export interface ControlOwner {
  /** Destroys the connection. */
  cut(): void;
}

export class ControlConnection {
  readonly owner: ControlOwner;
  /** Session of the SVID that opened the connection. */
  readonly sessionId: string;
  /** When the agent's last frame arrived, Unix ms. */
  heardAt: number;
  /** Digest of the configuration that was last announced to the agent. */
  told: string | undefined;
  /**
   * Deadline for the notice that the session has ended, Unix ms. The connection closes when the notice arrives or at
   * this time.
   */
  endsAt = Number.POSITIVE_INFINITY;
  /** Configuration that the agent requested last, until it has been sent. */
  wanted: AnnouncedConfiguration | undefined;
  /** Frames that wait for the end of a configuration. Undefined if none is being sent. */
  #after: string | undefined;
  #isLast = false;
  /** Deadline for reading the configuration, Unix ms. */
  readBy = Number.POSITIVE_INFINITY;
  readonly #tls: TLSSocket;
  readonly #clock: () => number;
  #held = '';
  #frames = 0;
  #windowAt: number;

  constructor(
    { owner, sessionId, tls }: { owner: ControlOwner; sessionId: string; tls: TLSSocket },
    clock: () => number,
    take: (frame: AgentFrame) => void,
  ) {
    this.owner = owner;
    this.sessionId = sessionId;
    this.#tls = tls;
    this.#clock = clock;
    this.heardAt = clock();
    this.#windowAt = this.heardAt;
    tls.on('data', (chunk: Buffer) => {
      if (!this.#read(chunk, take)) owner.cut();
    });
    tls.once('end', () => owner.cut());
  }

  send(frame: EdgeFrame): void {
    if (Math.max(this.#tls.writableLength, this.#after?.length ?? 0) > MAX_BEHIND) this.owner.cut();
    else if (this.#after === undefined) this.#tls.write(formatFrame(frame));
    else this.#after += formatFrame(frame);
  }

  /**
   * Sends a configuration at the agent's pace. Resolves when the agent has received it or disconnected.
   * @param line complete frame; one buffer serves all agents
   */
  async sendLine(line: Buffer): Promise<void> {
    this.#after = '';
    this.readBy = this.#clock() + READ_MS;
    for (let at = 0; at < line.length && this.#tls.writable; at += SLICE) {
      await this.#written(line.subarray(at, at + SLICE));
    }
    const after = this.#after;
    this.#after = undefined;
    this.readBy = Number.POSITIVE_INFINITY;
    if (this.#isLast) this.#tls.end(after);
    else if (after !== '') this.#tls.write(after);
  }

  #written(slice: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.#tls.once('close', resolve);
      this.#tls.write(slice, () => {
        this.#tls.off('close', resolve);
        resolve();
      });
    });
  }

  /** Sends a last frame, and closes the connection. */
  end(last: EdgeFrame): void {
    if (this.#after === undefined) this.#tls.end(formatFrame(last));
    else {
      this.#isLast = true;
      this.#after += formatFrame(last);
    }
  }

  /**
   * Parses frames.
   * @returns false for input that an agent never sends
   */
  #read(chunk: Buffer, take: (frame: AgentFrame) => void): boolean {
    this.heardAt = this.#clock();
    if (this.heardAt > this.#windowAt + FRAMES.windowMs) {
      this.#windowAt = this.heardAt;
      this.#frames = 0;
    }
    // All frames are ASCII: base64url, and names.
    const lines = (this.#held + chunk.toString('latin1')).split('\n');
    this.#held = lines.pop()!;
    this.#frames += lines.length;
    if (this.#frames > FRAMES.most || this.#held.length > MAX_AGENT_FRAME) return false;
    for (const line of lines) {
      const frame = line.length > MAX_AGENT_FRAME ? undefined : AgentFrame.safeParse(parseJson(line)).data;
      if (!frame) return false;
      take(frame);
    }
    return true;
  }
}
