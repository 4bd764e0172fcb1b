/** Processes to kill, the way to kill them, and how an init system or Kubernetes would restart them. */
import { spawnSync } from 'node:child_process';
import type { Lab } from '@meshpass/lab';
import type { TestPostgres } from '../../packages/broker/test/harness/postgres.ts';
import type { Span } from './terms.ts';

export interface Disaster {
  readonly name: string;
  readonly strike: () => Promise<void>;
}

export const now = () => Date.now();

/**
 * @param random in [0, 1): how long each stays dead
 * @param edgeDown gets the spans in which the edge could not carry anything
 */
export function disasters(lab: Lab, postgres: TestPostgres, random: () => number, edgeDown: Span[]): Disaster[] {
  const deadFor = () => new Promise((resolve) => setTimeout(resolve, 300 + random() * 1_200));
  const killed = (unit: string): Disaster => ({
    name: `kill -9 ${unit}`,
    strike: async () => {
      await lab.kill(unit);
      await deadFor();
      await restarted(lab, unit);
    },
  });
  return [
    killed('meshpass'),
    {
      name: 'kill -9 edge',
      strike: async () => {
        const from = now();
        await lab.kill('edge');
        await deadFor();
        // An edge is ready once it has the live sessions, so it may have to wait for a broker.
        await restarted(lab, 'edge');
        edgeDown.push({ from, to: now() });
      },
    },
    killed('istiod'),
    {
      name: 'kill -9 kube-apiserver',
      strike: async () => {
        await lab.kill('kube-apiserver');
        await deadFor();
        await restarted(lab, 'kube-apiserver');
        // It gives up without its API server.
        if (!lab.running('kube-controller-manager')) await restarted(lab, 'kube-controller-manager');
      },
    },
    {
      name: "the store's server crashes",
      strike: async () => {
        postgres.crash!();
        await deadFor();
        postgres.start!();
      },
    },
    {
      name: "the store's connections are cut",
      strike: async () => {
        const statement =
          "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'meshpass%'";
        // A server that is dead at this moment has no connections to cut.
        spawnSync('psql', [postgres.url, '-qAtc', statement], { stdio: 'ignore' });
      },
    },
  ];
}

/** A process that finds its neighbours dead may exit by itself; its supervisor tries again. */
async function restarted(lab: Lab, unit: string): Promise<void> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await lab.restart(unit);
    } catch (thrown) {
      if (attempts === 5) throw thrown;
    }
  }
}
