import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keyFileStorage } from '@meshpass/broker/core/token/key-storage';
import { openSigner, type RotatingSigner } from '@meshpass/broker/core/token/signer';
import { DrillReport, EVIDENCE_TYPE, failedRows } from '@meshpass/identity/drill-report';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyEvidence } from '../../src/commands/drill.ts';
import { formatDrillReport } from '../../src/drill/table.ts';

const REPORT: DrillReport = {
  version: 1,
  broker: 'https://broker.example.com',
  cause: 'goodbye',
  started_at: '2026-11-24T16:00:00.000Z',
  ended_at: '2026-11-24T16:00:02.000Z',
  session: { id: 's1', subject: 'github:1', login: 'alice', workspace: 'space', grants: ['dev'] },
  principals: ['spiffe://cluster.local/ns/meshpass-dev/sa/alice-s1'],
  rows: [
    { part: 'before', layer: 'edge', tried: 'SVID', outcome: 'lives', how: 'HTTP 200' },
    { part: 'connections', layer: 'edge', tried: 'open TCP', outcome: 'dead', how: 'ended', ms: 12, limit_ms: 2000 },
    { part: 'replays', layer: 'sidecar', tried: 'SVID', outcome: 'stale', how: 'HTTP 200', ms: 2001, limit_ms: 2000 },
    { part: 'replays', layer: 'TokenReview', tried: 'token', outcome: 'not_tried', how: 'needs --kubeconfig' },
  ],
};
const WITNESS = {
  broker: 'https://broker.example.com',
  signed_at: '2026-11-24T16:00:03.000Z',
  session: {
    id: 's1',
    opened_at: '2026-11-24T16:00:00.000Z',
    closed_at: '2026-11-24T16:00:01.000Z',
    close_cause: 'goodbye',
    principals: [],
  },
};

describe('the table of a drill', () => {
  const lines = formatDrillReport(REPORT);
  test('names the layer at which a stale credential works, and the layers that were not tried', () => {
    expect(lines.at(-1)).toBe('FAILED at: sidecar (1 of 2 checks). Not tried: TokenReview.');
    expect(lines.find((line) => line.includes('STALE'))).toMatch(/STALE +sidecar: +SVID +2001 ms {2}HTTP 200/);
  });
  test('counts only wrong outcomes as failed', () => {
    expect(failedRows(REPORT).map(({ layer }) => layer)).toEqual(['sidecar']);
  });
});

describe('an evidence file', () => {
  let directory: string;
  let signer: RotatingSigner;
  let other: RotatingSigner;
  const jwks = (of: RotatingSigner) => JSON.parse(of.jwks) as unknown;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'drill-'));
    signer = await openSigner(keyFileStorage(join(directory, 'a.pem')));
    other = await openSigner(keyFileStorage(join(directory, 'b.pem')));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  test('verifies with the keys of the broker that signed it', async () => {
    const jws = await signer.sign({ drill: REPORT, witness: WITNESS }, EVIDENCE_TYPE);
    expect(await verifyEvidence(`${jws}\n`, jwks(signer))).toEqual({ drill: REPORT, witness: WITNESS });
  });

  test('does not verify with those of another', async () => {
    const jws = await other.sign({ drill: REPORT, witness: WITNESS }, EVIDENCE_TYPE);
    await expect(verifyEvidence(jws, jwks(signer))).rejects.toMatchObject({ code: 'evidence_invalid' });
  });

  test('is not a token of the same key, whatever its content', async () => {
    const jws = await signer.sign({ drill: REPORT, witness: WITNESS });
    await expect(verifyEvidence(jws, jwks(signer))).rejects.toMatchObject({ code: 'evidence_invalid' });
  });

  test('is of one session', async () => {
    const witness = { ...WITNESS, session: { ...WITNESS.session, id: 's2' } };
    const jws = await signer.sign({ drill: REPORT, witness }, EVIDENCE_TYPE);
    await expect(verifyEvidence(jws, jwks(signer))).rejects.toMatchObject({ code: 'evidence_invalid' });
  });

  test.each(['iss', 'sub', 'aud', 'exp', 'grants'])('cannot be made to carry the claim %s', (claim) => {
    expect(DrillReport.safeParse({ ...REPORT, [claim]: 'x' }).success).toBe(false);
  });
});
