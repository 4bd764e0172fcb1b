/** Waits for the watch, which end early and never reject. */
import { pause } from '../../base/index.ts';

/** Resolves after the given milliseconds, or earlier if aborted. */
export type Wait = (ms: number, signal?: AbortSignal) => Promise<void>;

/** Creates a wait that also ends when its owner stops. It does not keep the process alive. */
export function createWait(stop: AbortSignal): Wait {
  return (ms, signal) => pause(ms, signal ? AbortSignal.any([stop, signal]) : stop, { ref: false });
}
