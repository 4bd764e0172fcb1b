/** World of bench/ends/bench.ts: a lab with Meshpass, developers, their sessions, and the times at which connections end. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createOperatorClient, type OperatorCall } from '@meshpass/cli/operator/client';
import type { Lab } from '@meshpass/lab';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { type Meshpass, startMeshpass } from '@meshpass/lab/meshpass';
import { type StandIns, standIns } from '@meshpass/lab/stand-ins';
import { type Deaths, KINDS, type Kind } from './client.ts';
import { startWorkspaces, type Workspaces } from './drive.ts';

/** Milliseconds from the cause to the last dead one, by kind; null: it was alive when the watch ended. */
export type Times = Readonly<Partial<Record<Kind, readonly (number | null)[]>>>;

export interface World {
  readonly lab: Lab;
  readonly players: StandIns;
  readonly meshpass: Meshpass;
  readonly operator: OperatorCall;
  readonly workspaces: Workspaces;
  /** Host that runs the sessions. */
  readonly host: string;
  /** Developers of team acme/payments, one for each run. */
  readonly developers: readonly string[];
}

export interface Session {
  /** In the client process. */
  readonly as: string;
  readonly id: string;
  readonly login: string;
  readonly space: StartedCodespace;
}

export const EVENT_TOKEN = 'event-token-of-the-benchmark-0123456789abcdef';
export const HELD_GRANT = 'payments-dev';
const OPEN_AT_ONCE = 8;
/** Longer than the limit of `brief-dev`. */
const WATCH_MS = 40_000;
const HEARTBEAT_MS = 5_000;
const LET_IN_MS = 30_000;

/** @param flags of `meshpass serve` */
export async function openWorld(
  lab: Lab,
  developers: number,
  flags: readonly string[],
  host = 'workspace',
): Promise<World> {
  const players = standIns(lab);
  await players.github.reset();
  const logins = Array.from({ length: developers }, (_, n) => `dev-${n}`);
  for (const login of logins) {
    await players.github.createUser({ login, memberOf: 'acme' });
    await players.github.addToTeam('acme/payments', login);
  }
  const eventTokenFile = `${lab.dir}/event.token`;
  writeFileSync(eventTokenFile, EVENT_TOKEN, { mode: 0o600 });
  const meshpass = await startMeshpass(lab, {
    accessFile: fileURLToPath(new URL('../ends-access.yaml', import.meta.url)),
    edgeApart: true,
    breakGlassWithoutAnEmergency: true,
    flags: [...flags, '--github-event-token', eventTokenFile],
  });
  // Proofs of the second in which the broker started are refused.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const operator = createOperatorClient(
    { operator: meshpass.operatorUrl },
    { MESHPASS_OPERATOR_TOKEN: meshpass.operatorToken },
  );
  return { lab, players, meshpass, operator, workspaces: startWorkspaces(lab, host), host, developers: logins };
}

export async function openSessions(
  { players, meshpass, workspaces, host, developers }: World,
  count: number,
  repository = 'acme/payments-api',
): Promise<Session[]> {
  const sessions: Session[] = [];
  const logins = developers.slice(0, count);
  const lane = async () => {
    for (let login = logins.shift(); login !== undefined; login = logins.shift()) {
      // An earlier cause may have removed them from it.
      await players.github.addToTeam('acme/payments', login);
      const space = await players.github.createCodespace({ owner: login, repository, host });
      const as = `${space.name}`;
      const proof = { token: space.token, name: space.name };
      const { id } = await letIn(() =>
        workspaces.order<{ id: string }>({
          do: 'open',
          as,
          broker: meshpass.brokerUrl,
          proof,
          heartbeatMs: HEARTBEAT_MS,
        }),
      );
      sessions.push({ as, id, login, space });
    }
  };
  await Promise.all(Array.from({ length: OPEN_AT_ONCE }, lane));
  return sessions;
}

/** Time after a person left a team in which the broker does not accept that they rejoined (SETTLE_SECONDS). */
async function letIn<T>(open: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + LET_IN_MS; ; ) {
    try {
      return await open();
    } catch (thrown) {
      const isUnsettled = thrown instanceof Error && thrown.message.startsWith('access_none');
      if (!isUnsettled || performance.now() > deadline) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }
}

export async function hold(
  { workspaces }: Pick<World, 'workspaces'>,
  sessions: readonly Session[],
  grant = HELD_GRANT,
): Promise<void> {
  for (const { as } of sessions) await workspaces.order({ do: 'hold', as, grant });
}

/** @param act ends the sessions. It returns the instant (Unix ms) at which it began */
export async function timeDeaths(
  { workspaces }: Pick<World, 'workspaces'>,
  sessions: readonly Session[],
  act: () => Promise<number>,
): Promise<{ readonly at: number; readonly deaths: readonly Deaths[] }> {
  const watching = Promise.all(
    sessions.map(({ as }) => workspaces.order<Deaths>({ do: 'watch', as, limitMs: WATCH_MS })),
  );
  watching.catch(() => {}); // awaited below
  const at = await act();
  return { at, deaths: await watching };
}

export function timesOf(rounds: readonly { readonly at: number; readonly deaths: readonly Deaths[] }[]): Times {
  // An Envoy may drain a connection because policies changed for another session. Such a connection measures nothing.
  const times = (kind: Kind) =>
    rounds.flatMap(({ at, deaths }) =>
      deaths.flatMap((one) => (one[kind] === null ? null : one[kind] < at ? [] : Math.round(one[kind] - at))),
    );
  return Object.fromEntries(KINDS.map((kind) => [kind, times(kind)]));
}

export interface Listed {
  readonly id: string;
  readonly expires_at: number;
  readonly lease_expires_at: number;
}

export async function liveSessions({ operator }: Pick<World, 'operator'>): Promise<readonly Listed[]> {
  return ((await operator('GET', '/admin/sessions')) as { sessions: Listed[] }).sessions;
}

export const now = () => performance.timeOrigin + performance.now();

export interface EndsRow {
  readonly cause: string;
  /** Start of the measured times. */
  readonly from: string;
  readonly times: Times;
  readonly goal: { readonly medianMs: number; readonly worstMs: number } | undefined;
}
