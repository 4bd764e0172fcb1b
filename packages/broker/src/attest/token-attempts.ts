/**
 * How many tokens that GitHub does not know may be taken to it. Whoever reaches the broker can invent tokens without end, and GitHub
 * answers nobody at an address that many wrong credentials come from, right ones neither ("Authenticating to the REST API",
 * failed login limit). So each question about a token that was not accepted before is paid for in advance, and paid back unless
 * GitHub answers 401. Honest arrivals that come all at once wait for one another, and are not refused.
 */
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { createRateAllowance } from '../limits/rate-allowance.ts';
import { groupOf } from '../limits/source-address.ts';
import type { IssuerResponse } from './issuer-http.ts';

export interface TokenAttempts {
  /**
   * @param source address, or its group
   * @param question the first about this token
   * @returns GitHub's answer; of a token that it refused a short time ago 401, without a question
   * @throws MeshpassError `too_many_attempts`, and what the question throws
   */
  readonly request: (token: string, source: string, question: () => Promise<IssuerResponse>) => Promise<IssuerResponse>;
  /** An attestation came of it: those who took all of the strangers' allowance do not shut this source out. */
  readonly attested: (source: string) => void;
}

/** Refused tokens of one source, and of all: at once, and a second. */
const SOURCE = { burst: 20, perSecond: 0.2 };
const ALL = { burst: 100, perSecond: 1 };
const REFUSED_MS = 60_000;
const ACCEPTED_MS = 10 * 60_000;
const ATTESTED_MS = 3_600_000;
const CAPACITY = 10_000;

/** @param clock Unix milliseconds */
export function createTokenAttempts(clock: () => number): TokenAttempts {
  const perSource = createRateAllowance({ ...SOURCE, clock });
  const all = createRateAllowance({ ...ALL, clock });
  // SHA-256 of tokens; the tokens themselves are not kept.
  const refused = createTimed(REFUSED_MS, clock);
  const accepted = createTimed(ACCEPTED_MS, clock);
  const sources = createTimed(ATTESTED_MS, clock);
  /** Questions under way, by whose allowance they have paid. */
  const flying = new Map<string, number>();
  let settled = Promise.withResolvers<void>();

  const fly = (payer: string, by: 1 | -1) => {
    const count = (flying.get(payer) ?? 0) + by;
    if (count > 0) flying.set(payer, count);
    else flying.delete(payer);
  };

  return {
    async request(token, source, question) {
      const hash = sha256Hex(token);
      const group = groupOf(source);
      for (;;) {
        if (refused.has(hash)) return refusedBefore();
        const pool = sources.has(group) ? 'attested' : 'strangers';
        const spent = [...(perSource.has(group) ? [] : [`source ${group}`]), ...(all.has(pool) ? [] : [`all ${pool}`])];
        const isKnown = accepted.has(hash);
        if (spent.length > 0 && !isKnown) {
          if (spent.some((payer) => !flying.has(payer))) throw tooMany();
          await settled.promise;
          continue;
        }
        const payers = [`source ${group}`, `all ${pool}`];
        // Nothing is there to be taken, nor given back, where a token that was accepted before is asked about all the same.
        const paid = [perSource.take(group), all.take(pool)];
        for (const payer of payers) fly(payer, 1);
        let isWrong = false;
        try {
          const answer = await question();
          isWrong = answer.status === 401;
          if (answer.status < 300) accepted.add(hash);
          if (isWrong) {
            accepted.delete(hash);
            refused.add(hash);
          }
          return answer;
        } finally {
          for (const payer of payers) fly(payer, -1);
          if (!isWrong) {
            if (paid[0]) perSource.giveBack(group);
            if (paid[1]) all.giveBack(pool);
          }
          settled.resolve();
          settled = Promise.withResolvers();
        }
      }
    },
    attested: (source) => sources.add(groupOf(source)),
  };
}

function refusedBefore(): IssuerResponse {
  return { status: 401, headers: new Headers(), body: { message: 'GitHub refused this token recently.' } };
}

function tooMany(): MeshpassError {
  return new MeshpassError(
    'too_many_attempts',
    'Too many tokens that GitHub does not accept, from this address or from all; wait.',
    { retryAfter: 1 / SOURCE.perSecond },
  );
}

/** Keys that are remembered for a while; beyond the capacity the oldest goes. */
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
