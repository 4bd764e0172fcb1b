/**
 * Versions of configurations: milliseconds since the epoch, always more than any before, of this broker and of those before it.
 * Equal content keeps its version, also across a restart, so that no workspace takes the same again.
 */
import { sql } from 'kysely';
import type { Clock } from '../clock/clock.ts';
import { createRateAllowance } from '../limits/rate-allowance.ts';
import type { Store } from '../store/open.ts';

export interface Versions {
  /**
   * @param key of the set of grants
   * @param digest of the content
   * @throws MeshpassError `store_unavailable`
   */
  readonly of: (key: string, digest: string) => Promise<number>;
  /**
   * The same content under a version above `version`, where that was ever given out; otherwise the version it has. That also
   * where it was raised often lately: a workspace says which version it has, and all sessions of the set read it anew.
   */
  readonly above: (key: string, digest: string, version: number) => Promise<number>;
}

interface Version {
  readonly digest: string;
  readonly version: number;
}

/** Sets of grants that are remembered; the newest. */
const KEPT = 4_096;
/** How often the same content may be raised above that of other grants: at once, and a second. */
const RAISED = { burst: 8, perSecond: 1 / 30 };

export async function openVersions(store: Pick<Store, 'db' | 'epoch'>, clock: Clock): Promise<Versions> {
  const rows = await store.db.selectFrom('configuration_versions').selectAll().execute();
  const known = new Map<string, Version>(
    rows.map(({ grants, digest, version }) => [grants, { digest, version: Number(version) }]),
  );
  const raised = createRateAllowance({ ...RAISED, clock, keys: KEPT });
  let highest = Math.max(0, ...[...known.values()].map(({ version }) => version));

  const allot = async (key: string, digest: string): Promise<number> => {
    const version = Math.max(clock(), highest + 1);
    // Before it is written: what fails may have been written all the same.
    highest = version;
    await sql`
      insert into configuration_versions (grants, digest, version)
      select ${key}, ${digest}, ${version}
      where exists (select from broker_epoch where epoch = ${store.epoch})
      on conflict (grants) do update set digest = excluded.digest, version = excluded.version`.execute(store.db);
    known.delete(key);
    known.set(key, { digest, version });
    if (known.size > KEPT) await forget(known.keys().next().value!);
    return version;
  };

  const forget = async (key: string): Promise<void> => {
    known.delete(key);
    await store.db.deleteFrom('configuration_versions').where('grants', '=', key).execute();
  };

  return {
    of: async (key, digest) => {
      const last = known.get(key);
      return last?.digest === digest ? last.version : allot(key, digest);
    },
    above: async (key, digest, version) => {
      const last = known.get(key);
      if (last?.digest !== digest) return allot(key, digest);
      const isAbove = version > last.version && version <= highest;
      return isAbove && raised.take(key) ? allot(key, digest) : last.version;
    },
  };
}
