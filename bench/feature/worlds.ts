/** Environments of the prebuilt dev container: the lab with a broker of its own, or a real cluster with the chart installed. */
import { upLab } from '@meshpass/lab';
import { BROKER_URL } from '@meshpass/lab/broker/rights';
import type { Hosts } from '@meshpass/lab/hosts';
import { startMeshpass } from '@meshpass/lab/meshpass';
import { standIns } from '@meshpass/lab/stand-ins';
import { clusterWithImage } from '../../test/chart/on-cluster.ts';

export interface World {
  /** Cluster whose host `workspace` runs the Codespaces. */
  readonly ground: Hosts & { readonly testCa: string };
  readonly brokerUrl: string;
  close(): Promise<void>;
}

export const WORLDS = {
  lab: async (progress: (line: string) => void): Promise<World> => {
    const lab = await upLab({ progress });
    await standIns(lab).github.reset();
    const meshpass = await startMeshpass(lab, { progress });
    const close = async () => {
      await meshpass.stop();
      await lab.down();
    };
    return { ground: lab, brokerUrl: BROKER_URL, close };
  },
  /** Installation like the chart's for production: PostgreSQL, two brokers, two edges, two mesh gateways, network policies. */
  cluster: async (progress: (line: string) => void): Promise<World> => {
    progress('starting a cluster, or taking the one that runs');
    const on = await clusterWithImage();
    await standIns(on.cluster).github.reset();
    await on.prepareNamespace();
    progress('helm install');
    await on.install();
    return { ground: on.cluster, brokerUrl: 'https://broker.meshpass.test', close: on.remove };
  },
} as const;
