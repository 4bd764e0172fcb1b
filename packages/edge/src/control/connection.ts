/** Control connection of an agent, with bounded frames in both directions. */
import type { TLSSocket } from 'node:tls';
import { AgentFrame, type EdgeFrame, formatFrame, MAX_AGENT_FRAME } from '@meshpass/identity/channel/index';
import { parseJson } from '@meshpass/identity/jws/json';

/** Maximum frames per agent and time window. An agent sends one frame per lease and one per configuration. */
const FRAMES = { most: 60, windowMs: 10_000 } as const;
/** Maximum number of sent bytes that an agent has not read yet. Excludes a configuration that is being sent. */
const MAX_BEHIND = 256 * 1024;
/**
 * Size of the slices in which a configuration is sent, bytes. All agents with the same configuration share the cache's
 * buffer. An agent that does not read therefore costs at most one slice, and does not delay other agents.
 */
const SLICE = 64 * 1024;
/** Time limit for an agent to read a configuration, ms. */
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
  /** Session whose SVID opened the connection. */
  readonly sessionId: string;
  /** Time at which the agent's last frame arrived, Unix ms. */
  heardAt: number;
  /** Digest of the configuration that was most recently announced to the agent. */
  told: string | undefined;
  /**
   * Deadline for the notice that the session has ended, Unix ms. The connection closes when the notice arrives, or at
   * this time at the latest.
   */
  endsAt = Number.POSITIVE_INFINITY;
  /** Configuration that the agent most recently requested. Cleared once it has been sent. */
  wanted: AnnouncedConfiguration | undefined;
  /** Frames that are queued behind a configuration. Undefined if no configuration is being sent. */
  #after: string | undefined;
  #isLast = false;
  /** Deadline by which the agent must have read the configuration, Unix ms. */
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
   * Sends a configuration at the agent's pace. Resolves once the agent has received it or disconnected.
   * @param line complete frame. All agents share its buffer
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

  /** Sends a last frame and then closes the connection. */
  end(last: EdgeFrame): void {
    if (this.#after === undefined) this.#tls.end(formatFrame(last));
    else {
      this.#isLast = true;
      this.#after += formatFrame(last);
    }
  }

  /**
   * Parses frames.
   * @returns false if the input is something that an agent never sends
   */
  #read(chunk: Buffer, take: (frame: AgentFrame) => void): boolean {
    this.heardAt = this.#clock();
    if (this.heardAt > this.#windowAt + FRAMES.windowMs) {
      this.#windowAt = this.heardAt;
      this.#frames = 0;
    }
    // All frames are ASCII. They contain only base64url and names.
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
