/** One control connection: frames of an agent in, frames for it out, each bounded. */
import type { TLSSocket } from 'node:tls';
import { AgentFrame, type EdgeFrame, formatFrame, MAX_AGENT_FRAME } from '@meshpass/identity/channel/index';
import { groupOf } from '../source.ts';

/** Frames of one agent in a window; it sends one for each lease and each configuration. */
const FRAMES = { most: 60, windowMs: 10_000 } as const;
/** Bytes that an agent may be behind in reading, beside a configuration that is on its way. */
const MAX_BEHIND = 256 * 1024;
/** How long an agent may take to read a configuration, ms. Others do not wait for it (places.ts). */
const READ_MS = 60_000;

export interface ControlOwner {
  /** Address that it is counted by. */
  readonly source: string;
  /** Destroys the connection. */
  cut(): void;
}

export class ControlConnection {
  readonly owner: ControlOwner;
  /** Whose SVID it was opened with. */
  readonly sessionId: string;
  /** Network that it comes from. */
  readonly source: string;
  /** When the agent spoke last, Unix ms. */
  heardAt: number;
  /** Digest of the configuration that the agent was told of last. */
  told: string | undefined;
  /** The session is over: ends when its notice has come, or then, Unix ms. */
  endsAt = Number.POSITIVE_INFINITY;
  /** The agent is being sent a configuration. */
  #sending = false;
  /** By when it must have read that, Unix ms. */
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
    this.source = groupOf(owner.source);
    this.#tls = tls;
    this.#clock = clock;
    this.heardAt = clock();
    this.#windowAt = this.heardAt;
    tls.on('data', (chunk: Buffer) => {
      if (!this.#read(chunk, take)) owner.cut();
    });
    tls.once('end', () => owner.cut());
  }

  cut(): void {
    this.owner.cut();
  }

  send(frame: EdgeFrame): void {
    if (this.#tls.writableLength > MAX_BEHIND && !this.#sending) this.owner.cut();
    else this.#tls.write(formatFrame(frame));
  }

  /**
   * Sends a configuration; resolves when the agent has taken it, or is gone.
   * @param line the frame as it is sent: one buffer for all agents
   */
  async sendLine(line: Buffer): Promise<void> {
    if (this.#sending || this.#tls.destroyed) return;
    this.#sending = true;
    this.readBy = this.#clock() + READ_MS;
    await new Promise<void>((resolve) => {
      this.#tls.once('close', resolve);
      this.#tls.write(line, () => {
        this.#tls.off('close', resolve);
        resolve();
      });
    });
    this.#sending = false;
    this.readBy = Number.POSITIVE_INFINITY;
  }

  /** Sends what is left, and closes. */
  end(last: EdgeFrame): void {
    this.#tls.end(formatFrame(last));
  }

  /** @returns false for anything that no agent sends */
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
      const frame = line.length > MAX_AGENT_FRAME ? undefined : parse(line);
      if (!frame) return false;
      take(frame);
    }
    return true;
  }
}

function parse(line: string): AgentFrame | undefined {
  try {
    return AgentFrame.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
