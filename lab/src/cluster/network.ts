/** Makes the hosts of a cluster, and rules by which a simulated internet reaches only the addresses that a cloud would expose. */

import { BRIDGE_ADDRESS, batch, writeNames } from '../network/create.ts';
import { enterHost } from '../network/enter.ts';
import type { Host } from '../plan.ts';
import { must } from '../run.ts';
import { type ClusterPlan, INTERNET } from './plan.ts';

const BRIDGES = { internet: BRIDGE_ADDRESS, management: '02:00:00:00:00:02' } as const;
type Bridge = keyof typeof BRIDGES;

/** Everything that is open from the internet is a Service of type LoadBalancer, or an answer. */
const ANSWERS = ['-m', 'conntrack', '--ctstate', 'ESTABLISHED,RELATED', '-j', 'RETURN'];
const FROM_INTERNET: readonly (readonly string[])[] = [
  ['PREROUTING', '-i', 'internet', ...ANSWERS],
  ['PREROUTING', '-i', 'internet', '!', '-d', INTERNET.loadBalancers, '-j', 'DROP'],
  // Other ports than the Service's would otherwise end at the node itself, which has the address.
  ['INPUT', '-i', 'internet', ...ANSWERS],
  ['INPUT', '-i', 'internet', '-j', 'DROP'],
];

export async function createClusterNetwork(plan: ClusterPlan): Promise<void> {
  const { node, github, operator, workspace } = plan.hosts;
  await must(['ip', 'netns', 'add', plan.switch], 'lab_start');
  await batch(
    ['-n', plan.switch],
    Object.entries(BRIDGES).flatMap(([bridge, address]) => [
      `link add ${bridge} address ${address} type bridge forward_delay 0`,
      `link set ${bridge} addrgenmode none up`,
    ]),
  );
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
      'link set root addrgenmode none',
      'link set root master management up',
      'link set lo up',
      `addr add ${INTERNET.nameServer}/${INTERNET.prefix} dev internet`,
    ],
  );
  await Promise.all([
    addHost(plan, node, { management: node.ip, internet: INTERNET.node }),
    addHost(plan, github, { management: github.ip, internet: INTERNET.github }),
    addHost(plan, operator, { management: operator.ip, internet: INTERNET.operator }),
    addHost(plan, workspace, { internet: workspace.ip }),
  ]);
  await must(enterHost(plan.switch, ['sh', '-c', 'echo 0 >/proc/sys/net/ipv4/ip_forward']), 'lab_start');
  // Programs read the default route to find their own address; it leads nowhere.
  await batch(['-n', node.netns], ['route add default via 203.0.113.1 dev internet']);
  for (const rule of FROM_INTERNET)
    await must(enterHost(node.netns, ['iptables', '-t', 'mangle', '-A', ...rule]), 'lab_start');
}

async function addHost(plan: ClusterPlan, host: Host, links: Partial<Record<Bridge, string>>): Promise<void> {
  writeNames(host, `127.0.0.1 localhost\n${host.ip} ${host.name}\n`, INTERNET.nameServer);
  await must(['ip', 'netns', 'add', host.netns], 'lab_start');
  for (const [bridge, address] of Object.entries(links)) {
    const outside = `${host.name}-${bridge.slice(0, 3)}`;
    await batch(
      ['-n', plan.switch],
      [
        `link add ${outside} type veth peer name ${bridge} netns ${host.netns}`,
        `link set ${outside} addrgenmode none`,
        `link set ${outside} master ${bridge} up`,
      ],
    );
    await batch(['-n', host.netns], [`addr add ${address}/24 dev ${bridge}`, `link set ${bridge} addrgenmode none up`]);
  }
  await batch(['-n', host.netns], ['link set lo up']);
  await must(enterHost(host.netns, ['sh', '-c', 'echo 0 >/proc/sys/net/ipv4/ip_forward']), 'lab_start');
}
