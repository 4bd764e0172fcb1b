/** Makes the same call from a pod and from a Codespace: both are hosts of the lab that run the same program. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Lab, upLab } from '@meshpass/lab';
import { type OrderedProcess, startOrdered } from '@meshpass/lab/ordered-process';
import { LONG_NAME } from '@meshpass/lab/plan';
import { type DataPath, openDataPath, until } from '../mesh.ts';
import type { AnswerTo, Call, Side } from './calls.ts';

export interface Callers {
  readonly lab: Lab;
  readonly sides: readonly Side[];
  callFrom<C extends Call>(side: Side, call: C): Promise<AnswerTo<C>>;
  /** Access of the Codespace, if there is a Codespace. */
  readonly dataPath: DataPath | undefined;
  /** Opens a new session with these grants for the Codespace, if there is one. @param more grants in addition to the usual ones */
  grant(more?: { readonly service: string; readonly port: number }): Promise<void>;
  /** Host that runs the program of a side. */
  host(side: Side): string;
  close(): Promise<void>;
}

const HOSTS: Readonly<Record<Side, string>> = { pod: 'client', codespace: 'workspace' };

/** @param sides without `codespace` no Meshpass is started */
export async function openCallers(sides: readonly Side[]): Promise<Callers> {
  const lab = await upLab({ with: ['echo-v1', 'echo-v2'] });
  const dataPath = sides.includes('codespace') ? await openCodespace(lab) : undefined;
  let granted: string | undefined;
  const programs = new Map<Side, OrderedProcess<Call>>(
    sides.map((side) => [side, startOrdered<Call>(lab, HOSTS[side], PROGRAM, `the caller of the ${side}`)]),
  );
  return {
    lab,
    sides,
    dataPath,
    callFrom: (side, call) => programs.get(side)!.order(call),
    grant: async (more) => {
      if (!dataPath) return;
      const before = granted;
      granted = more?.service;
      const line = more ? `      - { service: ${more.service}, port: ${more.port} }\n` : '';
      writeFileSync(dataPath.meshpass.accessFile, ACCESS.replace('    ttl:', `${line}    ttl:`));
      const inForce = (status: string): boolean =>
        granted === undefined ? !status.includes(before ?? 'nothing') : status.includes(granted);
      await until(() => enrolAnew(lab, dataPath), inForce, 60);
    },
    host: (side) => HOSTS[side],
    close: async () => {
      for (const program of programs.values()) program.kill();
      if (dataPath) await lab.exec(HOSTS.codespace, ['meshpass', 'down']);
      await dataPath?.close();
      await lab.down();
    },
  };
}

const PROGRAM = new URL('./main.ts', import.meta.url);

async function openCodespace(lab: Lab): Promise<DataPath> {
  const accessFile = join(lab.dir, 'callers-access.yaml');
  writeFileSync(accessFile, ACCESS);
  const dataPath = await openDataPath({ accessFile });
  await enrolAnew(lab, dataPath);
  return dataPath;
}

/** @returns output of `meshpass up` */
async function enrolAnew(lab: Lab, dataPath: DataPath): Promise<string> {
  await lab.exec(HOSTS.codespace, ['meshpass', 'down']);
  const up = await lab.exec(HOSTS.codespace, ['meshpass', 'up'], { env: await dataPath.environment() });
  if (up.code !== 0) throw new Error(`meshpass up failed: ${up.stderr}`);
  return up.stdout;
}

/** Everything that the calls go to, but the ports that declare no protocol: they cannot be granted. */
export const ACCESS = `
trust:
  codespaces: { organization: acme }
grants:
  payments-dev:
    who:
      - { team: acme/payments, repository: acme/payments-* }
    to:
      - { service: echo.shop, port: 8080 }
      - { service: echo.shop, port: 9000 }
      - { service: echo.shop, port: 2525 }
      - { service: echo-headless.shop, port: 8081 }
      - { service: ${LONG_NAME}.shop, port: 8080 }
      - { service: orders.shop, port: 8080 }
      - { service: ledger-db.shop, port: 5432 }
    ttl: 10m
    session: 8h
`;
