/**
 * Logout tokens that were taken: each ends what it names once. A logout is acted on before it is durable, so the replay check of the store
 * comes too late for whoever signed in again meanwhile.
 */
import type { SignedOut } from '../attest/oidc/logout-token.ts';
import type { Store } from '../store/open.ts';

type Taken = Pick<SignedOut, 'at' | 'replay'>;

export interface TakenLogouts {
  /** Whether it is taken for the first time; from now on it is not. */
  readonly claim: (out: Taken) => Promise<boolean>;
  /** It could not be stored: its issuer may send it again. */
  readonly release: (out: Taken) => void;
}

export interface TakenLogoutsOptions {
  readonly store: Pick<Store, 'db'>;
  /** Unix ms. */
  readonly clock: () => number;
  /** When this broker became the active one, Unix seconds. */
  readonly startedAt: number;
}

const REMEMBERED = 10_000;
/** No logout token is taken that is older, seconds. */
const REMEMBERED_SECONDS = 180;
/** Of the clocks of issuers and of brokers, seconds. */
const CLOCKS_SECONDS = 60;

export function createTakenLogouts({ store, clock, startedAt }: TakenLogoutsOptions): TakenLogouts {
  const taken = new Map<string, number>();
  // Of what was made until then, the memory may lack some: a broker before this one took it, or it was forgotten.
  let incompleteUntil = startedAt + CLOCKS_SECONDS;
  const forget = (key: string, at: number) => {
    taken.delete(key);
    incompleteUntil = Math.max(incompleteUntil, at);
  };
  const prune = () => {
    const oldest = clock() / 1000 - REMEMBERED_SECONDS;
    for (const [key, at] of taken) {
      if (at >= oldest && taken.size <= REMEMBERED) return;
      forget(key, at);
    }
  };
  return {
    claim: async ({ at, replay: { key } }) => {
      if (taken.has(key)) return false;
      taken.set(key, at);
      prune();
      // A store that does not answer keeps nobody signed in.
      return at > incompleteUntil || !(await isStored(store, key).catch(() => false));
    },
    release: ({ at, replay: { key } }) => forget(key, at),
  };
}

async function isStored({ db }: Pick<Store, 'db'>, key: string): Promise<boolean> {
  const found = await db.selectFrom('proof_replay').select('key').where('key', '=', key).executeTakeFirst();
  return found !== undefined;
}
