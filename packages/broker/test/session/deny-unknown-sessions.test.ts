/** A broker that starts after a declared restore asks the mesh whom the store does not know. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listLostSessionPrincipals } from '../../src/core/session/deny/revoked-principals.ts';
import { openStore, type Store } from '../../src/store/open.ts';
import { releaseStore, reusedStore } from '../harness/store/engines.ts';

let dataDir: string;
let store: Store;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'meshpass-deny-lost-'));
  store = await openStore(await reusedStore(dataDir));
});
afterAll(async () => {
  await store?.close();
  await releaseStore(dataDir);
  rmSync(dataDir, { recursive: true, force: true });
});

const lost = { namespace: 'mp-dev', serviceAccount: 's-1', spiffeId: 'spiffe://cluster.local/ns/mp-dev/sa/s-1' };
const away = new MeshpassError('kubernetes_unavailable', 'Kubernetes does not answer.');

it('does not ask without a restore, and after one asks until Kubernetes answers', async () => {
  const failures: unknown[] = [];
  const answers = [away, away, [lost]];
  const revoker = {
    principals: async () => {
      const answer = answers.shift();
      if (answer instanceof Error || answer === undefined) throw answer ?? new Error('asked again');
      return answer;
    },
  };
  const patience = { onFailure: (cause: unknown) => failures.push(cause) };
  expect(await listLostSessionPrincipals(store, revoker, Date.now, patience)).toEqual([]);
  expect(answers).toHaveLength(3);
  await store.db.insertInto('audit_restores').values({ epoch: 1, note: 'declared', time: new Date() }).execute();
  expect(await listLostSessionPrincipals(store, revoker, Date.now, patience)).toMatchObject([lost]);
  expect(failures).toEqual([away, away]);
});

it('stops when the process is about to end', async () => {
  const ending = AbortSignal.abort(new Error('SIGTERM'));
  const revoker = { principals: () => Promise.reject(away) };
  const asked = listLostSessionPrincipals(store, revoker, Date.now, { onFailure: () => {}, signal: ending });
  await expect(asked).rejects.toMatchObject({ name: 'AbortError' });
});
