/** Shared by run.ts and checks.ts: lease terms of sessions in the chaos, and the members. */
import type { Crowd } from './drive.ts';

export const LEASE_SECONDS = 30;
export const GRACE_SECONDS = 20;

export interface Present {
  readonly as: string;
  readonly crowd: Crowd;
  readonly codespace: string;
}

/** The ends that were ordered, by session: what its audit row may call it. */
export type Ordered = Map<string, ReadonlySet<string>>;

/** Unix ms. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Disasters with their times. */
export interface Event extends Span {
  readonly what: string;
}

/**
 * Ends that an operator ordered and of which no answer came, by session: until the next broker serves, the edges may know an end
 * that no store has. Acknowledged writes are durable; this one was not acknowledged.
 */
export type Unanswered = Map<string, readonly Span[]>;

export async function lanes(count: number, times: number, act: () => Promise<unknown>): Promise<void> {
  let left = times;
  const lane = async () => {
    while (left-- > 0) await act();
  };
  await Promise.all(Array.from({ length: count }, lane));
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
