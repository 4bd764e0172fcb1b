/** Makes the hosts: one network namespace each, linked to the cluster's bridge or to the internet. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Host, hostsFile, INTERNET, type Plan } from '../plan.ts';
import { must } from '../run.ts';

/** The bridge of the internet is inside host `meshpass`: the root namespace and the cluster have no way there. */
const INTERNET_BRIDGE = 'internet';

/** @param only hosts to add to a network that exists */
export async function createNetwork(plan: Plan, only?: readonly Host[]): Promise<void> {
  const hosts = only ?? Object.values(plan.hosts);
  if (!only) await batch([], bridgeCommands(plan));
  // `meshpass` first: it holds the bridge that the workspaces attach to.
  await Promise.all(hosts.filter((host) => host.network === 'cluster').map((host) => addClusterHost(plan, host)));
  for (const host of hosts) if (host.network === 'internet') await addWorkspace(plan, host);
}

function bridgeCommands(plan: Plan): string[] {
  return [
    `link add ${plan.bridge} type bridge forward_delay 0`,
    `addr add ${plan.bridgeIp}/24 dev ${plan.bridge}`,
    `link set ${plan.bridge} addrgenmode none up`,
  ];
}

async function addClusterHost(plan: Plan, host: Host): Promise<void> {
  writeNames(plan, host);
  const port = `${plan.bridge}-${host.number}`;
  await must(['ip', 'netns', 'add', host.netns], 'lab_start');
  await batch(
    [],
    [
      `link add ${port} type veth peer name eth0 netns ${host.netns}`,
      `link set ${port} addrgenmode none`,
      `link set ${port} master ${plan.bridge} up`,
    ],
  );
  const commands = [
    'link set lo up',
    `addr add ${host.ip}/24 dev eth0`,
    'link set eth0 addrgenmode none up',
    `route add default via ${plan.bridgeIp}`,
  ];
  if (host.name === 'meshpass') {
    commands.push(
      `link add ${INTERNET_BRIDGE} type bridge forward_delay 0`,
      `addr add ${INTERNET.meshpass}/${INTERNET.prefix} dev ${INTERNET_BRIDGE}`,
      `link set ${INTERNET_BRIDGE} addrgenmode none up`,
    );
  }
  await batch(['-n', host.netns], commands);
  // A namespace starts with the forwarding of the root namespace, which Docker for one turns on.
  await must(['ip', 'netns', 'exec', host.netns, 'sysctl', '-q', '-w', 'net.ipv4.ip_forward=0'], 'lab_start');
}

async function addWorkspace(plan: Plan, host: Host): Promise<void> {
  writeNames(plan, host);
  const edge = plan.hosts.meshpass?.netns ?? '';
  await must(['ip', 'netns', 'add', host.netns], 'lab_start');
  await batch(
    ['-n', edge],
    [
      `link add ${host.name} type veth peer name eth0 netns ${host.netns}`,
      `link set ${host.name} addrgenmode none`,
      `link set ${host.name} master ${INTERNET_BRIDGE} up`,
    ],
  );
  // Two workspaces cannot reach each other either.
  await must(['bridge', '-n', edge, 'link', 'set', 'dev', host.name, 'isolated', 'on'], 'lab_start');
  await batch(
    ['-n', host.netns],
    ['link set lo up', `addr add ${host.ip}/${INTERNET.prefix} dev eth0`, 'link set eth0 addrgenmode none up'],
  );
}

/** `ip netns exec` lays these files over /etc/hosts and /etc/resolv.conf. */
function writeNames(plan: Plan, host: Host): void {
  const folder = join('/etc/netns', host.netns);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'hosts'), hostsFile(plan, host));
  writeFileSync(
    join(folder, 'resolv.conf'),
    '# no name server: names are in /etc/hosts\noptions timeout:1 attempts:1\n',
  );
}

async function batch(flags: readonly string[], commands: readonly string[]): Promise<void> {
  await must(['ip', ...flags, '-batch', '-'], 'lab_start', { input: `${commands.join('\n')}\n` });
}
