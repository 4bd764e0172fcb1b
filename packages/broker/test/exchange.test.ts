import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enrol, type Rig, startRig } from './rig/broker.ts';
import { grant } from './rig/mesh.ts';

describe('POST /token with a proof', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await startRig();
    rig.mesh.setAccess([grant('payments-dev', ['idp:alice'])]);
  });
  afterAll(() => rig.stop());

  it('opens a session bound to the key of the DPoP proof', async () => {
    const answer = await enrol(rig, 'alice');
    expect(answer.json).toMatchObject({
      token_type: 'DPoP',
      session: { subject: 'idp:alice', grants: ['payments-dev'] },
    });
    expect(answer.status).toBe(200);
  });
});
