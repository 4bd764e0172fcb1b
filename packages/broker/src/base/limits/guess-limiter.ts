/**
 * Limits attempts to guess credentials that only an outside party (GitHub or the API server) can verify. Any client can
 * invent such credentials, and verifying each one costs a request. The limiter therefore charges for an unknown
 * credential in advance and refunds the charge unless the credential is rejected. Credentials that were accepted before
 * are always sent. Honest clients that arrive at the same time wait for each other instead of being rejected.
 */
import { MeshpassError, sha256Hex, sourceGroup } from '@meshpass/identity';
import { createRateAllowance, type RateAllowanceTerms } from './rate-allowance.ts';

/** The burst size and the refill rate (per second) of the allowance for rejected credentials. */
type GuessRate = Pick<RateAllowanceTerms, 'burst' | 'perSecond'>;

export interface GuessLimits<Answer> {
  readonly verdict: (answer: Answer) => 'accepted' | 'refused' | 'other';
  readonly perSource: GuessRate;
  /** A limit across all sources. Known sources have a separate limit, so unknown clients cannot exhaust it. */
  readonly all?: GuessRate;
  /**
   * Whether known sources are exempt from the limits, so that an attacker behind the same address cannot lock them out.
   */
  readonly exemptKnown?: boolean;
  /** How long a rejected credential is remembered and not sent again, in milliseconds. */
  readonly refusedMs: number;
  /** Returns the current time in Unix milliseconds. */
  readonly clock: () => number;
}

/** How long an accepted credential is exempt from the limits, in milliseconds. */
const ACCEPTED_MS = 10 * 60_000;
/** How long a source is remembered as known, in milliseconds. */
const KNOWN_MS = 3_600_000;
const CAPACITY = 10_000;

/** Creates a limiter for credentials that have to be verified by an outside party. */
export function createGuessLimiter<Answer>(limits: GuessLimits<Answer>) {
  const { clock, verdict, exemptKnown = false } = limits;
  const perSource = createRateAllowance({ ...limits.perSource, clock });
  const all = limits.all && createRateAllowance({ ...limits.all, clock });
  // These sets contain SHA-256 hashes. The credentials themselves are not kept.
  const refused = createTimed(limits.refusedMs, clock);
  const accepted = createTimed(ACCEPTED_MS, clock);
  const known = createTimed(KNOWN_MS, clock);
  /** The number of requests in flight for each source and each pool of sources. */
  const flying = new Map<string, number>();
  let settled = Promise.withResolvers<void>();

  const fly = (payer: string, by: 1 | -1) => {
    const count = (flying.get(payer) ?? 0) + by;
    if (count > 0) flying.set(payer, count);
    else flying.delete(payer);
  };

  /** Returns the limits that a request from this source counts against. */
  const chargesOf = (group: string) => {
    const pool = known.has(group) ? 'known' : 'strangers';
    return [{ rate: perSource, payer: group }, ...(all ? [{ rate: all, payer: pool }] : [])];
  };

  return {
    /**
     * Sends a credential to its verifier, subject to the limits.
     * @param source the client's source address, or the group that the address belongs to
     * @returns the verifier's answer, or undefined if the credential was rejected recently and was not sent again
     * @throws MeshpassError `too_many_attempts`, and errors from `ask`
     */
    async verify(credential: string, source: string, ask: () => Promise<Answer>): Promise<Answer | undefined> {
      const hash = sha256Hex(credential);
      const group = sourceGroup(source);
      // Do not add an `await` between the last check and the charge: another request could use up the allowance.
      for (;;) {
        if (refused.has(hash)) return undefined;
        const isFree = accepted.has(hash) || (exemptKnown && known.has(group));
        const spent = chargesOf(group).filter(({ rate, payer }) => !rate.has(payer));
        if (isFree || spent.length === 0) break;
        if (spent.some(({ payer }) => !flying.has(payer))) throw tooMany(limits.perSource);
        await settled.promise;
      }
      const charges = chargesOf(group);
      // A request that is exempt from the limits may find its bucket empty. In that case, it is neither charged nor
      // refunded.
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
    /** Marks a source as known after it has authenticated (see `GuessLimits.exemptKnown`). */
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

/** Creates a set whose keys expire. When the set is full, adding a key evicts the oldest one. */
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
