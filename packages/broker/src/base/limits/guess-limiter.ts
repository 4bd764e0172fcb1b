/**
 * Limits attempts to guess credentials that only an outside party (GitHub, the API server) can verify. Any client can
 * invent such credentials, and each one costs a request. An unknown credential is therefore charged in advance, and
 * refunded unless it is refused. Accepted credentials are always sent. Honest clients that arrive at the same time wait
 * for each other instead of being refused.
 */
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { sourceGroup } from '@meshpass/identity/limits/source';
import { createRateAllowance, type RateAllowanceTerms } from './rate-allowance.ts';

/** Burst size and refill rate (per second) for refused credentials. */
type GuessRate = Pick<RateAllowanceTerms, 'burst' | 'perSecond'>;

export interface GuessLimits<Answer> {
  readonly verdict: (answer: Answer) => 'accepted' | 'refused' | 'other';
  readonly perSource: GuessRate;
  /** Limit across all sources. Known sources have a separate limit, which strangers cannot exhaust. */
  readonly all?: GuessRate;
  /** Whether known sources are exempt, so that unauthenticated clients behind the same address cannot lock them out. */
  readonly exemptKnown?: boolean;
  /** Time during which a refused credential is not sent again, ms. */
  readonly refusedMs: number;
  /** Returns the current time, Unix ms. */
  readonly clock: () => number;
}

/** Time during which an accepted credential is exempt from the limits, ms. */
const ACCEPTED_MS = 10 * 60_000;
/** Time during which a source remains known, ms. */
const KNOWN_MS = 3_600_000;
const CAPACITY = 10_000;

/** Creates a limiter. */
export function createGuessLimiter<Answer>(limits: GuessLimits<Answer>) {
  const { clock, verdict, exemptKnown = false } = limits;
  const perSource = createRateAllowance({ ...limits.perSource, clock });
  const all = limits.all && createRateAllowance({ ...limits.all, clock });
  // SHA-256 hashes of credentials. The credentials themselves are not kept.
  const refused = createTimed(limits.refusedMs, clock);
  const accepted = createTimed(ACCEPTED_MS, clock);
  const known = createTimed(KNOWN_MS, clock);
  /** Number of requests in flight per source, and per pool of sources. */
  const flying = new Map<string, number>();
  let settled = Promise.withResolvers<void>();

  const fly = (payer: string, by: 1 | -1) => {
    const count = (flying.get(payer) ?? 0) + by;
    if (count > 0) flying.set(payer, count);
    else flying.delete(payer);
  };

  /** Returns the limits that a request is charged to. */
  const chargesOf = (group: string) => {
    const pool = known.has(group) ? 'known' : 'strangers';
    return [{ rate: perSource, payer: group }, ...(all ? [{ rate: all, payer: pool }] : [])];
  };

  return {
    /**
     * Sends a credential to its verifier, subject to the limits.
     * @param source source address or its group
     * @returns the answer, or undefined without sending a request if the credential was refused recently
     * @throws MeshpassError `too_many_attempts`, and errors from `ask`
     */
    async verify(credential: string, source: string, ask: () => Promise<Answer>): Promise<Answer | undefined> {
      const hash = sha256Hex(credential);
      const group = sourceGroup(source);
      // There must be no `await` between the last check and the charge.
      for (;;) {
        if (refused.has(hash)) return undefined;
        const isFree = accepted.has(hash) || (exemptKnown && known.has(group));
        const spent = chargesOf(group).filter(({ rate, payer }) => !rate.has(payer));
        if (isFree || spent.length === 0) break;
        if (spent.some(({ payer }) => !flying.has(payer))) throw tooMany(limits.perSource);
        await settled.promise;
      }
      const charges = chargesOf(group);
      // A request that is exempt from the limits may find an empty bucket. It is then neither charged nor refunded.
      const paid = charges.filter(({ rate, payer }) => rate.take(payer));
      for (const { payer } of charges) fly(payer, 1);
      let found: ReturnType<typeof verdict> = 'other';
      try {
        const answer = await ask();
        found = verdict(answer);
        if (found === 'accepted') accepted.add(hash);
        if (found === 'refused') {
          accepted.delete(hash);
          refused.add(hash);
        }
        return answer;
      } finally {
        for (const { payer } of charges) fly(payer, -1);
        if (found !== 'refused') for (const { rate, payer } of paid) rate.giveBack(payer);
        settled.resolve();
        settled = Promise.withResolvers();
      }
    },
    /** Records that a source has proven itself, see `GuessLimits.exemptKnown`. */
    trust: (source: string) => known.add(sourceGroup(source)),
  };
}

function tooMany({ perSecond }: GuessRate): MeshpassError {
  return new MeshpassError(
    'too_many_attempts',
    'Too many rejected tokens, from this address or in total. Wait before you try again.',
    { retryAfter: 1 / perSecond },
  );
}

/** Creates a set of keys that expire. If the set is full, the oldest key is evicted. */
function createTimed(lifeMs: number, clock: () => number) {
  const entries = new Map<string, number>();
  return {
    has: (key: string) => (entries.get(key) ?? Number.NEGATIVE_INFINITY) > clock(),
    add: (key: string) => {
      entries.delete(key);
      entries.set(key, clock() + lifeMs);
      if (entries.size > CAPACITY) entries.delete(entries.keys().next().value!);
    },
    delete: (key: string) => void entries.delete(key),
  };
}
