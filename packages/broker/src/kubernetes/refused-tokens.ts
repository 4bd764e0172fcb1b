/**
 * Remembers for a short time which bearers were refused by a TokenReview, so that whoever repeats one does not have the API server
 * asked again. Who presents a bearer while it is under review waits for the same answer. What was accepted is never remembered: a
 * token whose ServiceAccount is gone is refused at once.
 */
import { sha256Hex } from '@meshpass/identity/hash';
import type { Clock } from '../clock/clock.ts';

const REMEMBERED_MS = 10_000;
const CAPACITY = 10_000;

/** @param review whether a bearer is accepted; what it throws is no answer, and is not remembered */
export function cacheRefusedTokens(
  review: (token: string) => Promise<boolean>,
  clock: Clock,
): (token: string) => Promise<boolean> {
  // By hash: a token that is refused here may be good elsewhere.
  const refused = new Map<string, number>();
  const inFlight = new Map<string, Promise<boolean>>();
  const reviewOnce = async (token: string, hash: string) => {
    const accepted = await review(token);
    refused.delete(hash);
    if (accepted) return true;
    refused.set(hash, clock() + REMEMBERED_MS);
    if (refused.size > CAPACITY) refused.delete(refused.keys().next().value!);
    return false;
  };
  return async (token) => {
    const hash = sha256Hex(token);
    const until = refused.get(hash);
    if (until !== undefined && until > clock()) return false;
    const pending = inFlight.get(hash);
    if (pending) return await pending;
    const answer = reviewOnce(token, hash).finally(() => inFlight.delete(hash));
    inFlight.set(hash, answer);
    return await answer;
  };
}
