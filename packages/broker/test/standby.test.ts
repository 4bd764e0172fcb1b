/** Operator listener of a standby broker: its answers to probes, and the use of its keys at a takeover. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { afterEach, describe, expect, it } from 'vitest';
import { createLogger } from '../src/base/telemetry/log.ts';
import { createMetrics } from '../src/base/telemetry/metrics.ts';
import { keyFileStorage } from '../src/core/token/key-storage.ts';
import { openSigner, type RotatingSigner } from '../src/core/token/signer.ts';
import { becomeActive, startStandby } from '../src/start/standby.ts';
import { playMesh } from './harness/mesh.ts';

const open: { stop: (patienceMs: number) => Promise<void> }[] = [];
const folders: string[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.stop(0);
  for (const one of folders.splice(0)) await rm(one, { recursive: true });
});

async function standby() {
  const mesh = playMesh();
  const base = {
    config: { operator: { host: '127.0.0.1', port: 0 } },
    given: { mesh },
    metrics: createMetrics(),
    log: createLogger('broker', 'silent'),
  };
  const { operator, waitFor } = await startStandby(base as never);
  open.push(operator);
  const ask = (query: string) => fetch(`http://127.0.0.1:${operator.port}/readyz${query}`);
  const status = async (query: string) => (await ask(query)).status;
  const reasons = async () => ((await (await ask('')).json()) as { reasons: string[] }).reasons;
  return { mesh, waitFor, status, reasons };
}

it('is well while another broker is active, and ready for none', async () => {
  const { waitFor, status } = await standby();
  expect(await status('?standby=ready')).toBe(503);
  waitFor('standing by: another is active', {}, { isPlanned: false });
  expect([await status('?standby=ready'), await status('')]).toEqual([200, 503]);
  waitFor('standing by: the store is not responding', {});
  expect(await status('?standby=ready')).toBe(503);
});

it('is not ready while it cannot read the cluster, so that an update stops before the broker that can', async () => {
  const { mesh, waitFor, status } = await standby();
  waitFor('standing by: another is active', {}, { isPlanned: false });
  mesh.notReady = ['the cluster has not been listed yet'];
  expect(await status('?standby=ready')).toBe(503);
  mesh.notReady = [];
  expect(await status('?standby=ready')).toBe(200);
});

it('is not ready while its access file cannot come into force, unless it would continue with an applied one', async () => {
  const { mesh, waitFor, status } = await standby();
  mesh.badFile = 'access.yaml:4:5 there is no Service orders in shop';
  waitFor('standing by: another is active', {}, { isPlanned: false });
  expect(await status('?standby=ready')).toBe(503);
  waitFor('standing by: another is active', {}, { isPlanned: true });
  expect(await status('?standby=ready')).toBe(200);
});

it('is ready with a refused access file if it would continue with the previous one in the store', async () => {
  const { mesh, waitFor, status } = await standby();
  mesh.badFile = 'access.yaml:4:5 unknown key "tll"';
  waitFor('standing by: another is active', {}, { isPlanned: false, isKept: true });
  expect(await status('?standby=ready')).toBe(200);
  waitFor('standing by: another is active', {}, { isPlanned: false, isKept: false });
  expect(await status('?standby=ready')).toBe(503);
});

it('is not ready while it refuses the file that it would continue with, and reports the reason', async () => {
  const { mesh, waitFor, status, reasons } = await standby();
  mesh.badFile = 'access.yaml:4:5 there is no Service orders in shop';
  const refused = 'This version of Meshpass rejects the access file that was applied by plan as version 7';
  waitFor('standing by: another is active', {}, { isPlanned: true, refused });
  expect(await status('?standby=ready')).toBe(503);
  expect(await reasons()).toContain(refused);
  waitFor('standing by: another is active', {}, { isPlanned: true });
  expect(await status('?standby=ready')).toBe(200);
});

describe('the keys of a broker that takes over', () => {
  const opened = async () => {
    const directory = await mkdtemp(join(tmpdir(), 'meshpass-standby-'));
    folders.push(directory);
    const file = join(directory, 'signing-key.pem');
    const storage = keyFileStorage(file);
    return { storage, signer: await openSigner(storage), text: () => readFile(file, 'utf8') };
  };
  const takeOver = (signer: RotatingSigner, isLeader: () => boolean) => {
    const base = { config: { tokenSeconds: 300 }, given: { signer }, clock: Date.now };
    return becomeActive(base as never, { waitFor: () => {} } as never, { store: { isLeader } } as never);
  };
  const unavailable = { code: 'store_unavailable' };

  it('stay unchanged if the place of the keys answers only after another broker has taken over', async () => {
    const { signer, text } = await opened();
    const before = await text();
    let asked = 0;
    let leads = true;
    const slow: RotatingSigner = {
      ...signer,
      read: () => {
        asked += 1;
        leads = false;
        return asked > 1 ? signer.read() : Promise.reject(new MeshpassError('kubernetes_unavailable', 'It is away.'));
      },
    };
    await expect(takeOver(slow, () => leads)).rejects.toMatchObject(unavailable);
    expect([asked, await text()]).toEqual([1, before]);
  });

  it('stay unchanged if another broker takes over while they are read', async () => {
    const { signer, text } = await opened();
    const before = await text();
    let leads = true;
    const read = async () => {
      const keys = await signer.read();
      leads = false;
      return keys;
    };
    await expect(takeOver({ ...signer, read }, () => leads)).rejects.toMatchObject(unavailable);
    expect(await text()).toBe(before);
  });
});
