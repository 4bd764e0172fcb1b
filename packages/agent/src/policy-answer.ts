/** Finds the refusals of a sidecar's policy among HTTP/1.1 responses that pass by, and says instead what to do. */
import type { ReachableService } from '@meshpass/identity/wire';
import { isPolicyRefusal, policyRefusal, renderRefusal } from './refusal.ts';
import type { ResponseTracker } from './response.ts';

const MAX_REFUSAL = 8192;

export class PolicyAnswers {
  readonly #sessionId: string;
  #held: Buffer | undefined;

  constructor(sessionId: string) {
    this.#sessionId = sessionId;
  }

  /**
   * Observes a chunk in the tracker's stead.
   * @returns the bytes for the client: a refusal that says what to do, or what came; undefined while more is awaited
   */
  pass(chunk: Buffer, tracker: ResponseTracker, service: ReachableService): Buffer | undefined {
    // Nearly every response shows by one byte of its status that it is none: "HTTP/1.1 4".
    if (!this.#held && !(tracker.atHead && (chunk[9] === 0x34 || chunk.length < 12))) {
      tracker.observe(chunk);
      return chunk;
    }
    const bytes = this.#held ? Buffer.concat([this.#held, chunk]) : chunk;
    const request = tracker.pending[0]!;
    const found = request.method !== 'HEAD' && bytes.length <= MAX_REFUSAL && isPolicyRefusal(bytes);
    this.#held = found === 'part' ? bytes : undefined;
    if (this.#held) return undefined;
    tracker.observe(bytes);
    if (!found) return bytes;
    return renderRefusal(policyRefusal(request.method, request.path, service, this.#sessionId), {
      accept: request.accept,
      sessionId: this.#sessionId,
      close: tracker.closing,
    });
  }

  /** What was held when no more will come. */
  release(): Buffer | undefined {
    const held = this.#held;
    this.#held = undefined;
    return held;
  }
}
