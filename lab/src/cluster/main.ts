/** The command line of the cluster. */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { LabError } from '../error.ts';
import { ensureClusterSystem, ensureClusterTools } from '../install/tools.ts';
import { type Cluster, clusterName, downCluster, findCluster, releaseCluster, upCluster } from './cluster.ts';
import { buildImages } from './images/build.ts';
import { clusterNames } from './state.ts';

const HELP = `A real Kubernetes cluster with Istio on this machine, in namespaces: no Docker, no registry.

  npm run cluster -- up               start it, and leave it running
  npm run cluster -- down             take it down, also what a crash left
  npm run cluster -- status           node, hosts, processes, pods, load balancers
  npm run cluster -- kubectl ARGS...  what kubectl takes
  npm run cluster -- helm ARGS...     what helm takes
  npm run cluster -- load FILE...     import archives of images (docker save, or OCI layout)
  npm run cluster -- exec HOST CMD... run a command on a host: node, github, operator, workspace
  npm run cluster -- install [--system]
                                      install and build what a cluster runs, and start nothing; --system: packages only

  --name NAME      which cluster (default: $MESHPASS_CLUSTER, or "meshpass"); several run side by side.
                   It comes before kubectl, helm and exec: what follows them is theirs.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such cluster is running, 4 this machine cannot run one.
kubectl, helm and exec give the exit code of their command.
`;

const EXIT: Readonly<Partial<Record<LabError['code'], number>>> = {
  lab_usage: 2,
  lab_not_running: 3,
  lab_unsupported: 4,
};
/** Arguments after these belong to the command. */
const PASSES_ON = ['kubectl', 'helm', 'exec'];

process.exitCode = await main(process.argv.slice(2));

async function main(argv: string[]): Promise<number> {
  try {
    return await command(argv);
  } catch (error) {
    const known = error instanceof LabError;
    process.stderr.write(`cluster: ${known ? error.message : (error as Error).stack}\n`);
    return known ? (EXIT[error.code] ?? 1) : 1;
  }
}

async function command(argv: string[]): Promise<number> {
  const split = argv.findIndex((word) => PASSES_ON.includes(word));
  const { values, positionals } = parse(split < 0 ? argv : argv.slice(0, split + 1));
  const rest = split < 0 ? [] : argv.slice(split + 1);
  const [verb, ...targets] = positionals;
  const name = values.name ?? clusterName();
  const progress = (line: string): unknown => process.stderr.write(`${line}\n`);
  if (values.help || verb === undefined || verb === 'help') {
    process.stdout.write(HELP);
    return values.help || verb === 'help' ? 0 : 2;
  }
  switch (verb) {
    case 'up':
      return report(await upCluster({ name, keep: true, progress }));
    case 'down':
      process.stdout.write((await downCluster(name)) ? `cluster ${name} is down\n` : `there was no cluster ${name}\n`);
      return 0;
    case 'status':
      return report(await findCluster(name));
    case 'kubectl':
    case 'helm': {
      const cluster = await findCluster(name);
      return runThrough([cluster.binaries[verb], ...rest], cluster.environment());
    }
    case 'load': {
      if (targets.length === 0) throw new LabError('lab_usage', 'Usage: load FILE...');
      const cluster = await findCluster(name);
      for (const file of targets) process.stdout.write(`${(await cluster.load(resolve(file))).join('\n')}\n`);
      return 0;
    }
    case 'exec': {
      const [host, ...own] = rest;
      if (host === undefined || own.length === 0) throw new LabError('lab_usage', 'Usage: exec HOST CMD...');
      const line = (await findCluster(name)).commandLine(host, own[0] === '--' ? own.slice(1) : own);
      return runThrough(line.argv, line.env);
    }
    case 'install':
      if (values.system) await ensureClusterSystem(progress);
      else await buildImages(await ensureClusterTools(progress), process.execPath, progress);
      return 0;
    case 'release':
      await releaseCluster(name, targets[0] ?? '');
      return 0;
    default:
      throw new LabError('lab_usage', `There is no command "${verb}"; see --help.`);
  }
}

function parse(args: string[]) {
  try {
    const options = {
      name: { type: 'string' },
      system: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    } as const;
    return parseArgs({ args, allowPositionals: true, options });
  } catch (error) {
    throw new LabError('lab_usage', `${(error as Error).message}; see --help.`);
  }
}

/** Prints the cluster. @returns 1 when one of its processes is not running */
async function report(cluster: Cluster): Promise<number> {
  process.stdout.write(`cluster ${cluster.name} in ${cluster.dir}\n`);
  for (const host of Object.values(cluster.hosts)) process.stdout.write(`  ${host.name.padEnd(10)} ${host.ip}\n`);
  const units = cluster.units().map((unit) => (cluster.running(unit) ? unit : `${unit} (dead)`));
  process.stdout.write(`processes: ${units.join(', ')}\n`);
  const pods = await cluster.kubectl(['get', 'pods', '--all-namespaces']);
  const services = await cluster.kubectl([
    'get',
    'services',
    '--all-namespaces',
    '--field-selector',
    'spec.type=LoadBalancer',
  ]);
  process.stdout.write(`${pods.stdout}${services.stdout}`);
  const others = clusterNames().filter((other) => other !== cluster.name);
  if (others.length > 0) process.stdout.write(`other clusters: ${others.join(', ')}\n`);
  return cluster.units().every((unit) => cluster.running(unit)) ? 0 : 1;
}

function runThrough(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): number {
  const { status, error } = spawnSync(argv[0] ?? '', argv.slice(1), {
    stdio: 'inherit',
    env: env as NodeJS.ProcessEnv,
  });
  if (error) throw error;
  return status ?? 1;
}
