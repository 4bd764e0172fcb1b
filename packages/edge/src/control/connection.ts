/** An agent's control connection. The size of its frames is limited in both directions. */
import type { TLSSocket } from 'node:tls';
import { parseJson } from '@meshpass/identity';
import { AgentFrame, type EdgeFrame, formatFrame, MAX_AGENT_FRAME } from '@meshpass/identity/channel';

/**
 * The maximum number of frames that an agent may send per time window. An agent sends one frame per lease and one per
 * configuration.
 */
const FRAMES = { most: 60, windowMs: 10_000 } as const;
/**
 * The maximum number of bytes sent to an agent that it has not read yet, not counting a configuration that is being
 * sent.
 */
const MAX_BEHIND = 256 * 1024;
/**
 * The size of the slices in which a configuration is sent, in bytes. All agents with the same configuration share the
 * buffer in the cache, so an agent that does not read costs at most one slice and does not delay other agents.
 */
const SLICE = 64 * 1024;
/** How long an agent may take to read a configuration, in milliseconds. */
const READ_MS = 60_000;

/** A configuration that the broker has announced to a session. */
export interface AnnouncedConfiguration {
  readonly set: string;
  readonly digest: string;
}

export interface ControlOwner {
  /** Destroys the connection immediately. */
  cut(): void;
}

export class ControlConnection {
  readonly owner: ControlOwner;
  /** The session whose SVID was used to open the connection. */
  readonly sessionId: string;
  /** When the agent's last frame arrived, in Unix milliseconds. */
  heardAt: number;
  /** The digest of the configuration that was announced to the agent most recently. */
  told: string | undefined;
  /**
   * The deadline for the notice that the session has ended, in Unix milliseconds. The connection is closed when the
   * notice arrives, or when the deadline has passed.
   */
  endsAt = Number.POSITIVE_INFINITY;
  /** The configuration that the agent requested most recently. It is cleared once the configuration has been sent. */
  wanted: AnnouncedConfiguration | undefined;
  /** The frames that are waiting for a configuration to be sent. Undefined if no configuration is being sent. */
  #after: string | undefined;
  #isLast = false;
  /** The deadline for the agent to finish reading the configuration, in Unix milliseconds. */
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
   * Sends a configuration as fast as the agent reads it. Resolves once the agent has received it or disconnected.
   * @param line the complete frame, in a buffer that all agents share
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

  /** Sends a final frame and then closes the connection. */
  end(last: EdgeFrame): void {
    if (this.#after === undefined) this.#tls.end(formatFrame(last));
    else {
      this.#isLast = true;
      this.#after += formatFrame(last);
    }
  }

  /**
   * Parses the frames in a chunk of data and passes them to `take`.
   * @returns false if the chunk contains anything that an agent would never send
   */
  #read(chunk: Buffer, take: (frame: AgentFrame) => void): boolean {
    this.heardAt = this.#clock();
    if (this.heardAt > this.#windowAt + FRAMES.windowMs) {
      this.#windowAt = this.heardAt;
      this.#frames = 0;
    }
    // All frames are ASCII, because they contain nothing but base64url and names.
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
