/** An agent's control connection, with bounded frames in both directions. */
import type { TLSSocket } from 'node:tls';
import { AgentFrame, type EdgeFrame, formatFrame, MAX_AGENT_FRAME } from '@meshpass/identity/channel/index';
import { parseJson } from '@meshpass/identity/jws/json';
import { siteOf } from '@meshpass/identity/limits/source';

/** Maximum frames per agent and window. An agent sends one per lease and per configuration. */
const FRAMES = { most: 60, windowMs: 10_000 } as const;
/** Maximum bytes not yet read by an agent, excluding a configuration that is being sent. */
const MAX_BEHIND = 256 * 1024;
/** Maximum time for an agent to read a configuration, ms. Other agents do not wait for it (places.ts). */
const READ_MS = 60_000;

export interface ControlOwner {
  /** Source address for connection limits. */
  readonly source: string;
  /** Destroys the connection. */
  cut(): void;
}

export class ControlConnection {
  readonly owner: ControlOwner;
  /** Session of the SVID that opened the connection. */
  readonly sessionId: string;
  /** Source network. */
  readonly source: string;
  /** When the agent's last frame arrived, Unix ms. */
  heardAt: number;
  /** Digest of the configuration that was last announced to the agent. */
  told: string | undefined;
  /**
   * Deadline for the notice that the session has ended, Unix ms. The connection closes when the notice arrives or at
   * this time.
   */
  endsAt = Number.POSITIVE_INFINITY;
  /** Whether a configuration is being sent. */
  #sending = false;
  /** Deadline for reading it, Unix ms. */
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
    this.source = siteOf(owner.source);
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
   * Sends a configuration. Resolves when the agent has received it or disconnected.
   * @param line complete frame; one buffer serves all agents
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

  /** Sends a last frame, and closes the connection. */
  end(last: EdgeFrame): void {
    this.#tls.end(formatFrame(last));
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
