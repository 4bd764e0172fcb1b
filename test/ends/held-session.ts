/** Sessions with every credential and an open connection, and conditions that must hold once they have ended. */
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { expect } from 'vitest';
import { codespaceProof, completed, type DataPath, ORDERS, until } from '../mesh.ts';

export const GRANT = 'payments-dev';
/** Answers of GitHub in the first moments of a session are ignored. */
const SETTLED_MS = 10_500;

export interface HeldSession {
  readonly adversary: AdversarialClient;
  readonly id: string;
  readonly space?: StartedCodespace;
  readonly grant: string;
  /** Opens the connection whose death is awaited, and uses it. */
  hold(): Promise<void>;
  /** Ends the renewals of the lease. */
  silence(): void;
}

export const call = async (adversary: AdversarialClient) =>
  `GET /orders/1 HTTP/1.1\r\nHost: orders.shop:8080\r\nx-meshpass-token: ${(await adversary.show()).identityToken}\r\n\r\n`;

export type HeldSessions = ReturnType<typeof heldSessions>;

/** @param measured gets a line for each end: milliseconds until the open connection was dead, and the cause */
export function heldSessions(dataPath: DataPath, client: AdversarialClient, measured: string[]) {
  /** Holds every credential and an open connection that has just been used; keeps its lease as an agent does. */
  async function session(
    name: string,
    options: { settled?: boolean; proof?: Record<string, string>; grant?: string } = {},
  ) {
    const adversary = client.as(`${name}-${Math.random()}`);
    const { grant = GRANT } = options;
    const space = options.proof ? undefined : await dataPath.codespace();
    const answer = await adversary.enrol(options.proof ?? codespaceProof(space!));
    const id = await completed(dataPath, adversary, answer, grant);
    const hold = async () => {
      const report = await adversary.hold({
        target: ORDERS,
        grant,
        edge: dataPath.meshpass.edge,
        send: await call(adversary),
      });
      expect(report).toMatchObject({ stage: 'answer', answer: expect.stringMatching(/^HTTP\/1\.1 200 /) });
    };
    await hold();
    const beating = setInterval(() => void adversary.renew().catch(() => {}), 2_000);
    const opened: HeldSession = {
      adversary,
      id,
      grant,
      hold,
      ...(space && { space }),
      silence: () => clearInterval(beating),
    };
    if (options.settled) await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    return opened;
  }

  /** Does it, and asserts that it is the end of the session. */
  async function ends(session: HeldSession, cause: string, act: () => Promise<unknown>, label = cause): Promise<void> {
    const { adversary, id, grant } = session;
    let dead = adversary.cut();
    const early = await Promise.race([dead, new Promise<'open'>((resolve) => setTimeout(resolve, 50, 'open'))]);
    if (early !== 'open') {
      // Envoy drains connections when a policy arrives, as after the end of another session. This one must be live.
      const ended = (await dataPath.audit({ session: id })).filter(({ action }) => action === 'session.close');
      expect(ended).toEqual([]);
      await session.hold();
      dead = adversary.cut();
    }
    /** Time of death of the session's last connection: Envoy closes earlier ones a little later. */
    const died = async (): Promise<number> => {
      for (;;) {
        const at = await dead;
        if ((await adversary.token()).status === 401) return at;
        await session.hold();
        dead = adversary.cut();
      }
    };
    const began = Date.now();
    await act();
    measured.push(`${String((await died()) - began).padStart(6)} ms  ${label}`);
    session.silence();

    const refused = { status: 401, json: { error_code: 'session_closed' } };
    // A lapsed lease is refused even before the broker has ended the session.
    const renewal = await adversary.renew();
    expect(renewal).toMatchObject(renewal.kind === 'refused' ? { code: 'session_closed' } : { kind: 'ended', cause });
    expect(await adversary.certificate(grant)).toMatchObject(refused);
    expect(await adversary.token()).toMatchObject(refused);
    expect(await adversary.tunnel({ target: ORDERS, grant, edge: dataPath.meshpass.edge })).toMatchObject({
      stage: 'edge',
      edgeStatus: 403,
      edgeCode: 'tunnel_session_unknown',
    });
    const rows = await until(
      async () => (await dataPath.audit({ session: id })).filter(({ action }) => action === 'session.close'),
      (found) => found.length > 0,
    );
    expect(rows.map(({ outcome, detail }) => [outcome, JSON.parse(detail!).cause])).toEqual([['ended', cause]]);
    await until(
      () => dataPath.accounts(),
      (accounts) => !accounts.some((account) => account.includes(id.slice(0, 12))),
    );
  }

  return { session, ends };
}
