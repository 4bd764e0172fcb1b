/** The command line of the lab. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { LabError } from './error.ts';
import { ensureAmbient, ensureSystem, ensureTools } from './install/tools.ts';
import { downLab, findLab, type Lab, labName, releaseLab, upLab } from './lab.ts';
import { labNames } from './state.ts';
import { logFile, unitOf } from './unit.ts';

const HELP = `A real Istio mesh on this machine: each host is a network namespace.

  npm run lab -- up [--with HOST]...     start it, or what is missing of it, and leave it running
  npm run lab -- down                    take it down, also what a crash left
  npm run lab -- status                  hosts, addresses, processes
  npm run lab -- exec HOST -- CMD...     run a command on a host
  npm run lab -- logs HOST [--follow]    logs of a host's processes, or of one process
  npm run lab -- delay [HOST] --round-trip MS [--loss PERCENT]
                                         a line with that delay in front of a host (workspace); 0: as it was
  npm run lab -- install [--system]      install and build what a lab runs, and start nothing; --system: packages only; also --with ambient

  --name NAME      which lab (default: $MESHPASS_LAB, or "meshpass"); several run side by side
  --with HOST      an optional host: stock, echo-v1, echo-v2, ingress, gateway-api, staging,
                   workspace-2 to workspace-9; ambient: all hosts of ambient mode
  --output json    up, down and status as JSON

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such lab is running, 4 this machine cannot run the lab.
exec gives the exit code of its command.
`;

const EXIT: Readonly<Partial<Record<LabError['code'], number>>> = {
  lab_usage: 2,
  lab_not_running: 3,
  lab_unsupported: 4,
};

process.exitCode = await main(process.argv.slice(2));

async function main(argv: string[]): Promise<number> {
  try {
    return await command(argv);
  } catch (error) {
    const known = error instanceof LabError;
    process.stderr.write(`lab: ${known ? error.message : (error as Error).stack}\n`);
    return known ? (EXIT[error.code] ?? 1) : 1;
  }
}

async function command(argv: string[]): Promise<number> {
  const split = argv.indexOf('--');
  const own = split < 0 ? argv : argv.slice(0, split);
  const rest = split < 0 ? [] : argv.slice(split + 1);
  const { values, positionals } = parse(own);
  const name = values.name ?? labName();
  const json = values.output === 'json';
  if (values.output !== undefined && !json) throw new LabError('lab_usage', 'The only other --output is json.');
  const [verb, target, ...more] = positionals;
  if (values.help || verb === undefined || verb === 'help') {
    process.stdout.write(HELP);
    return values.help || verb === 'help' ? 0 : 2;
  }
  switch (verb) {
    case 'up': {
      const lab = await upLab({
        name,
        keep: true,
        with: values.with ?? [],
        progress: (line) => process.stderr.write(`${line}\n`),
      });
      return report(lab, json);
    }
    case 'down': {
      const found = await downLab(name);
      process.stdout.write(
        json ? `${JSON.stringify({ name, found })}\n` : found ? `lab ${name} is down\n` : `there was no lab ${name}\n`,
      );
      return 0;
    }
    case 'status':
      return report(findLab(name), json);
    case 'exec':
      return exec(findLab(name), target, [...more, ...rest]);
    case 'logs':
      return logs(findLab(name), target, values.follow ?? false);
    case 'delay':
      return delay(findLab(name), target ?? 'workspace', values['round-trip'], values.loss);
    case 'install': {
      const progress = (line: string): unknown => process.stderr.write(`${line}\n`);
      await (values.system ? ensureSystem(progress) : ensureTools(progress));
      if (values.with?.includes('ambient')) await ensureAmbient(progress);
      return 0;
    }
    case 'release':
      await releaseLab(name, target ?? '');
      return 0;
    default:
      throw new LabError('lab_usage', `There is no command "${verb}"; see --help.`);
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        name: { type: 'string' },
        with: { type: 'string', multiple: true },
        output: { type: 'string' },
        'round-trip': { type: 'string' },
        loss: { type: 'string' },
        follow: { type: 'boolean', short: 'f' },
        system: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new LabError('lab_usage', `${(error as Error).message}; see --help.`);
  }
}

/** Prints the lab. @returns 1 when one of its processes is not running */
function report(lab: Lab, json: boolean): number {
  const units = lab
    .units()
    .map((unit) => ({ unit, host: unitOf(lab.dir, unit)?.host ?? '', running: lab.running(unit) }));
  if (json) {
    const hosts = Object.values(lab.hosts).map(({ name, ip, netns }) => ({ name, ip, netns }));
    const { name, dir, kubeconfig, versions } = lab;
    process.stdout.write(`${JSON.stringify({ name, dir, kubeconfig, versions, hosts, units }, null, 2)}\n`);
  } else {
    process.stdout.write(`lab ${lab.name} in ${lab.dir}\n`);
    for (const host of Object.values(lab.hosts)) {
      const own = units
        .filter((one) => one.host === host.name)
        .map((one) => (one.running ? one.unit : `${one.unit} (dead)`));
      process.stdout.write(`  ${host.name.padEnd(12)} ${host.ip.padEnd(14)} ${own.join(', ')}\n`);
    }
    const others = labNames().filter((other) => other !== lab.name);
    if (others.length > 0) process.stdout.write(`other labs: ${others.join(', ')}\n`);
  }
  return units.every(({ running }) => running) ? 0 : 1;
}

async function delay(lab: Lab, host: string, roundTrip: string | undefined, loss = '0'): Promise<number> {
  if (roundTrip === undefined) throw new LabError('lab_usage', 'Usage: delay [HOST] --round-trip MS [--loss PERCENT]');
  const line = { roundTripMs: Number(roundTrip), lossPercent: Number(loss) };
  const none = line.roundTripMs === 0 && line.lossPercent === 0;
  await lab.delay(host, none ? undefined : line);
  const said = none ? 'no delay' : `a round trip of ${roundTrip} ms, loss of ${loss} %`;
  process.stdout.write(`${host}: ${said}\n`);
  return 0;
}

function exec(lab: Lab, host: string | undefined, argv: readonly string[]): number {
  if (host === undefined || argv.length === 0) throw new LabError('lab_usage', 'Usage: exec HOST -- CMD...');
  const { argv: command, env } = lab.commandLine(host, argv);
  const { status, error } = spawnSync(command[0] ?? '', command.slice(1), {
    stdio: 'inherit',
    env: env as NodeJS.ProcessEnv,
  });
  if (error) throw error;
  return status ?? 1;
}

function logs(lab: Lab, target: string | undefined, follow: boolean): number {
  const ofHost = lab.units().filter((unit) => target === undefined || unitOf(lab.dir, unit)?.host === target);
  // A name that is no host names a log: that of a unit, or of a process that a program spawned on a host.
  const names = ofHost.length > 0 || target === undefined ? ofHost : [basename(target)];
  const files = names.map((unit) => logFile(lab.dir, unit)).filter(existsSync);
  if (files.length === 0)
    throw new LabError('lab_usage', `The lab has no logs of "${target}"; see status for hosts and processes.`);
  return spawnSync('tail', [...(follow ? ['-F'] : ['-n', '+1']), ...files], { stdio: 'inherit' }).status ?? 1;
}
