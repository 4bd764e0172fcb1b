/** Makes the hosts: one network namespace each, linked to the cluster's bridge or to the internet. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Host, hostsFile, INTERNET, type Plan, SERVICE_RANGE } from '../plan.ts';
import { must } from '../run.ts';
import { enterHost } from './enter.ts';

/** The bridge of the internet is inside host `meshpass`: the root namespace and the cluster have no way there. */
const INTERNET_BRIDGE = 'internet';
const CLUSTER_BRIDGE = 'cluster';
/** Without an address of its own, a bridge has that of one of its links, and changes it when that link leaves. */
export const BRIDGE_ADDRESS = '02:00:00:00:00:01';

/** Namespace in which the link of a host ends. It has the name of the host there. */
export function bridgeOf(plan: Plan, host: Host): { netns: string; bridge: string; isolated: boolean } {
  const isolated = host.network === 'internet';
  return isolated
    ? { netns: plan.hosts.meshpass?.netns ?? '', bridge: INTERNET_BRIDGE, isolated }
    : { netns: plan.switch, bridge: CLUSTER_BRIDGE, isolated };
}

/** @param only hosts to add to a network that exists */
export async function createNetwork(plan: Plan, only?: readonly Host[]): Promise<void> {
  const hosts = only ?? Object.values(plan.hosts);
  if (!only) await addSwitch(plan);
  // Services may have come with the new hosts; a workspace learns no names.
  else for (const host of Object.values(plan.hosts)) if (host.workload) writeNames(host, hostsFile(plan, host));
  // The workspaces come second: they attach to a bridge that host `meshpass` holds.
  await Promise.all(hosts.filter((host) => host.network === 'cluster').map((host) => addClusterHost(plan, host)));
  await Promise.all(hosts.filter((host) => host.network === 'internet').map((host) => addWorkspace(plan, host)));
}

/**
 * The cluster's bridge has a namespace to itself, where no firewall of the machine's (Docker's, for one) looks at what
 * it passes on. One link leads to the root namespace.
 */
async function addSwitch(plan: Plan): Promise<void> {
  await must(['ip', 'netns', 'add', plan.switch], 'lab_start');
  await batch(
    [],
    [
      `link add ${plan.link} type veth peer name root netns ${plan.switch}`,
      `addr add ${plan.rootIp}/24 dev ${plan.link}`,
      `link set ${plan.link} addrgenmode none up`,
    ],
  );
  await batch(
    ['-n', plan.switch],
    [
      `link add ${CLUSTER_BRIDGE} address ${BRIDGE_ADDRESS} type bridge forward_delay 0`,
      `link set ${CLUSTER_BRIDGE} addrgenmode none up`,
      'link set root addrgenmode none',
      `link set root master ${CLUSTER_BRIDGE} up`,
    ],
  );
}

async function addClusterHost(plan: Plan, host: Host): Promise<void> {
  await addHost(host, plan.switch, CLUSTER_BRIDGE, hostsFile(plan, host));
  // ztunnel does not start without a name server, which it does not ask here.
  if (host.name === 'node') writeNames(host, hostsFile(plan, host), '127.0.0.1');
  // Addresses of Services need a route, although a sidecar takes what goes there.
  const commands = [`route add ${SERVICE_RANGE} via ${plan.rootIp}`];
  if (host.name === 'meshpass') {
    commands.push(
      `link add ${INTERNET_BRIDGE} address ${BRIDGE_ADDRESS} type bridge forward_delay 0`,
      `addr add ${INTERNET.meshpass}/${INTERNET.prefix} dev ${INTERNET_BRIDGE}`,
      `link set ${INTERNET_BRIDGE} addrgenmode none up`,
    );
  }
  await batch(['-n', host.netns], commands);
  // A namespace starts with the forwarding of the root namespace, which Docker for one turns on.
  await must(enterHost(host.netns, ['sh', '-c', 'echo 0 >/proc/sys/net/ipv4/ip_forward']), 'lab_start');
  if (host.name === 'meshpass') await must(enterHost(host.netns, ['iptables', ...ONLY_ITS_INTERNET_SELF]), 'lab_start');
}

/**
 * Linux takes packets for any of its addresses on any link: a workspace with a route of its own would reach what listens
 * on the cluster's side of host `meshpass`, such as the operator listener.
 */
// biome-ignore format: one rule
const ONLY_ITS_INTERNET_SELF = ['-A', 'INPUT', '-i', INTERNET_BRIDGE, '!', '-d', INTERNET.meshpass, '-j', 'DROP'];

async function addWorkspace(plan: Plan, host: Host): Promise<void> {
  const edge = plan.hosts.meshpass?.netns ?? '';
  await addHost(host, edge, INTERNET_BRIDGE, hostsFile(plan, host));
  // Two workspaces cannot reach each other either.
  await must(['bridge', '-n', edge, 'link', 'set', 'dev', host.name, 'isolated', 'on'], 'lab_start');
}

/** A namespace with one link, to the bridge in namespace `at`. */
async function addHost(host: Host, at: string, bridge: string, names: string): Promise<void> {
  writeNames(host, names);
  await must(['ip', 'netns', 'add', host.netns], 'lab_start');
  await batch(
    ['-n', at],
    [
      `link add ${host.name} type veth peer name eth0 netns ${host.netns}`,
      `link set ${host.name} addrgenmode none`,
      `link set ${host.name} master ${bridge} up`,
    ],
  );
  await batch(
    ['-n', host.netns],
    ['link set lo up', `addr add ${host.ip}/24 dev eth0`, 'link set eth0 addrgenmode none up'],
  );
}

/** `ip netns exec` lays these files over /etc/hosts and /etc/resolv.conf. */
export function writeNames(host: Pick<Host, 'netns'>, names: string, nameServer?: string): void {
  const folder = join('/etc/netns', host.netns);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'hosts'), names);
  writeFileSync(
    join(folder, 'resolv.conf'),
    nameServer === undefined
      ? '# no name server: names are in /etc/hosts\noptions timeout:1 attempts:1\n'
      : `nameserver ${nameServer}\n`,
  );
}

/** Commands of `ip`, one after another. @param flags for example the namespace */
export async function batch(flags: readonly string[], commands: readonly string[]): Promise<void> {
  await must(['ip', ...flags, '-batch', '-'], 'lab_start', { input: `${commands.join('\n')}\n` });
}
