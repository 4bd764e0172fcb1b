/** Redirection of a Pod's traffic to the sockets that ztunnel opens in the Pod's network namespace. */
import { enterHost } from '../network/enter.ts';
import type { Host } from '../plan.ts';
import { must } from '../run.ts';

/** Mark of ztunnel's own packets, and of connections whose answers belong to it. */
const FROM_ZTUNNEL = '0x539/0xfff';
const OF_ZTUNNEL = '0x111/0xfff';
const TABLE = '100';

/** Rules of istio-cni (`cni/pkg/iptables/testdata/default.golden` of Istio) without those for DNS. */
const RULES = `*mangle
:ISTIO_PRERT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -m mark --mark ${FROM_ZTUNNEL} -j CONNMARK --set-xmark ${OF_ZTUNNEL}
-A ISTIO_OUTPUT -m connmark --mark ${OF_ZTUNNEL} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
*nat
:ISTIO_PRERT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A OUTPUT -j ISTIO_OUTPUT
-A PREROUTING -j ISTIO_PRERT
-A ISTIO_PRERT ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m mark ! --mark ${FROM_ZTUNNEL} -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -p tcp -m mark --mark ${OF_ZTUNNEL} -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m mark ! --mark ${FROM_ZTUNNEL} -j REDIRECT --to-ports 15001
COMMIT
`;

/** Does the work of istio-cni in one Pod. The rules are in the host's namespace and go when it goes. */
export async function redirectToZtunnel({ netns }: Host): Promise<void> {
  await must(enterHost(netns, ['iptables-restore']), 'lab_start', { input: RULES });
  await must(['ip', '-n', netns, 'route', 'add', 'local', '0.0.0.0/0', 'dev', 'lo', 'table', TABLE], 'lab_start');
  await must(['ip', '-n', netns, 'rule', 'add', 'fwmark', OF_ZTUNNEL, 'pref', '32764', 'lookup', TABLE], 'lab_start');
}
