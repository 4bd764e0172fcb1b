/** The audit table, as an operator reads it after the broker has let go of the store. */
import { openStore, type StoreOptions } from '../../src/store/open.ts';
import { openedBefore } from './store/engines.ts';

export async function readStore(options: StoreOptions) {
  const store = await openStore({ ...(await openedBefore(options.dataDir)), ...options });
  try {
    const audit = await store.db.selectFrom('audit').selectAll().orderBy('seq').execute();
    const sessions = await store.db.selectFrom('sessions').selectAll().execute();
    const principals = await store.db.selectFrom('session_principals').selectAll().execute();
    return { audit, sessions, principals };
  } finally {
    await store.close();
  }
}
