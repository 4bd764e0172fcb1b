/** The digest of the access file on disk that came into force last, for the next broker: reconcile/former-access.ts says what it does with it. */
import { setTimeout as pause } from 'node:timers/promises';
import { type Kysely, sql } from 'kysely';
import type { Store } from '../store/open.ts';
import type { Tables } from '../store/tables.ts';

const RETRY_MS = 1_000;

export async function readInForce(db: Kysely<Tables>): Promise<string | undefined> {
  return (await db.selectFrom('access_in_force').select('digest').executeTakeFirst())?.digest;
}

/**
 * Keeps each digest that it is given; a store that does not answer is asked again, until there is a newer one.
 * @returns the function that is to be called with each
 */
export function keepInForce(store: Pick<Store, 'db' | 'epoch' | 'isLeader'>, onFailure: (cause: unknown) => void) {
  let newest: string | undefined;
  return async (digest: string): Promise<void> => {
    newest = digest;
    while (newest === digest && store.isLeader()) {
      try {
        await sql`
          insert into access_in_force (digest)
          select ${digest} where exists (select from broker_epoch where epoch = ${store.epoch})
          on conflict (singleton) do update set digest = excluded.digest`.execute(store.db);
        return;
      } catch (thrown) {
        onFailure(thrown);
        await pause(RETRY_MS, undefined, { ref: false });
      }
    }
  };
}
