/** A broker that stops right after a revocation does not leave the stolen key to sidecars. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createAuditEvent } from '../../src/audit/log/event.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { createKeyRotation } from '../../src/core/token/rotation.ts';
import { openSigner } from '../../src/core/token/signer.ts';

/** @param tellsAfterMs how long the mesh takes; it never does where undefined */
async function revoked(tellsAfterMs: number | undefined, isLeader: () => boolean) {
  const directory = await mkdtemp(join(tmpdir(), 'meshpass-rotation-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  const signer = await openSigner(keyFileStorage(join(directory, 'signing-key.pem')));
  const published = () => new Set((JSON.parse(signer.jwks) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid));
  let inMesh: ReadonlySet<string> = published();
  const stolen = signer.kid;
  const mesh = {
    tokenKeys: () => inMesh,
    tokenKeysChanged: () => {
      if (tellsAfterMs === undefined || stolen === signer.kid) return;
      setTimeout(() => {
        inMesh = published();
      }, tellsAfterMs);
    },
  };
  const journal = { transaction: async () => {} };
  const random = (size: number) => Buffer.alloc(size);
  const rotation = createKeyRotation({
    signer,
    mesh,
    journal,
    isLeader,
    random,
    clock: Date.now,
    tokenSeconds: 300,
    ageSeconds: 0,
    waitSeconds: 300,
    audit: { journal, clock: Date.now, observe: () => {} } as never,
    renewLeases: () => {},
    onFailure: () => {},
  });
  const stop = rotation.start();
  expect(await rotation.revoke(createAuditEvent('operator.rotate', {}, Date.now, random))).toMatchObject({
    dropped: [stolen],
  });
  expect(inMesh).toContain(stolen);
  const began = performance.now();
  await stop();
  return { hasStolen: inMesh.has(stolen), tookMs: performance.now() - began };
}

it('stops when sidecars have the policy that refuses the stolen key', async () => {
  expect(await revoked(300, () => true)).toMatchObject({ hasStolen: false });
});

it('stops within seconds although the mesh cannot be reached', async () => {
  const { tookMs } = await revoked(undefined, () => true);
  expect(tookMs).toBeGreaterThan(2_500);
  expect(tookMs).toBeLessThan(10_000);
});

it('stops at once if another broker updates the mesh', async () => {
  expect((await revoked(undefined, () => false)).tookMs).toBeLessThan(2_000);
});
