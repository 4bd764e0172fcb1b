/** Second istiod beside the lab's, with Istio's default flags and with telemetry in its mesh configuration. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '@meshpass/lab';
import { runUnit, stopUnit, unitOf } from '@meshpass/lab/unit';
import { parse, stringify } from 'yaml';

const PROVIDERS = [
  { name: 'zipkin', zipkin: { service: 'catalog.catalogue.svc.cluster.local', port: 80 } },
  { name: 'als', envoyHttpAls: { service: 'catalog.catalogue.svc.cluster.local', port: 9000 } },
  { name: 'otel-log', envoyOtelAls: { service: 'catalog.catalogue.svc.cluster.local', port: 9000 } },
];
const OURS = ['PILOT_ENABLE_METADATA_EXCHANGE', 'PILOT_ENABLE_ALPN_FILTER'];
const NAME = 'istiod-stock';

/**
 * Starts istiod.
 * @returns host:port of its TLS port, and a function that stops it
 */
export async function startStockIstiod(lab: Lab): Promise<{ readonly address: string; stop(): Promise<void> }> {
  const unit = unitOf(lab.dir, 'istiod')!;
  const own = unit.argv.find((argument) => argument.startsWith('--meshConfig='))!.slice('--meshConfig='.length);
  const config = join(unit.cwd, 'stock-mesh.yaml');
  writeFileSync(config, stringify({ ...parse(readFileSync(own, 'utf8')), extensionProviders: PROVIDERS }));
  const host = lab.hosts.control!.ip;
  const argv = [
    ...unit.argv.filter((argument) => !/^--(meshConfig|monitoringAddr)=/.test(argument)),
    `--meshConfig=${config}`,
    ...['--monitoringAddr=:25014', '--httpAddr=:28080', '--httpsAddr=:25017', '--grpcAddr=:25010'],
    '--secureGRPCAddr=:25012',
    '--ctrlz_port=0',
  ];
  const env = Object.fromEntries(Object.entries(unit.env).filter(([name]) => !OURS.includes(name)));
  await runUnit(lab.dir, { ...unit, name: NAME, argv, env, ready: { url: `http://${host}:28080/ready` } });
  return { address: `${host}:25012`, stop: () => stopUnit(lab.dir, NAME) };
}
