/** Sidecar objects, which select the services in a workspace's configuration and in no other configuration. */
import { HOST, SIDECAR } from './honest.ts';
import type { Row } from './identities.ts';
import { apply, changed, remove } from './requests.ts';

const CONFIGURED = apply(SIDECAR);
const ONLY_GRANTABLE = 'configures workspaces only for services that may be granted';
const ONLY_GRANTS = 'only the Sidecar meshpass in namespaces of its grants';
const sidecar = (at: string, value: unknown) => apply(changed(SIDECAR, at, value));
const hosts = (...names: string[]) => sidecar('spec egress 0 hosts', names);
const listener = (member: string, value: unknown) => sidecar(`spec egress 0 ${member}`, value);

export const SIDECARS: readonly Row[] = [
  ['a Sidecar for every host', hosts('*/*'), hosts('~/*'), ONLY_GRANTABLE],
  ['a Sidecar for every host of a namespace', hosts('shop/*'), CONFIGURED, ONLY_GRANTABLE],
  ['a Sidecar for a host as one namespace has it', hosts(`payroll/${HOST}`), CONFIGURED, ONLY_GRANTABLE],
  [
    'a Sidecar for a service that may not be granted',
    hosts(`*/${HOST}`, '*/salaries.payroll.svc.cluster.local'),
    CONFIGURED,
    ONLY_GRANTABLE,
  ],
  ['a Sidecar for hosts outside', hosts('*/payroll.example.com'), CONFIGURED, ONLY_GRANTABLE],
  ['a Sidecar for nothing and something', hosts('~/*', '*/*'), hosts('~/*'), ONLY_GRANTABLE],
  ['a Sidecar without a host', hosts(), CONFIGURED, ONLY_GRANTABLE],
  ['a Sidecar without a listener, which is one for everything', sidecar('spec egress', []), CONFIGURED, ONLY_GRANTABLE],
  [
    'a Sidecar with a second listener',
    sidecar('spec egress', [{ hosts: [`*/${HOST}`] }, { hosts: ['*/*'] }]),
    CONFIGURED,
    ONLY_GRANTABLE,
  ],
  ['a Sidecar with an address to listen on', listener('bind', '0.0.0.0'), CONFIGURED, ONLY_GRANTABLE],
  [
    'a Sidecar with a port to listen on',
    listener('port', { number: 22, protocol: 'TCP', name: 'ssh' }),
    CONFIGURED,
    ONLY_GRANTABLE,
  ],
  [
    'a Sidecar that lets everything out',
    sidecar('spec outboundTrafficPolicy mode', 'ALLOW_ANY'),
    CONFIGURED,
    ONLY_GRANTABLE,
  ],
  [
    'a Sidecar that lets things in',
    sidecar('spec ingress', [{ port: { number: 80, protocol: 'HTTP', name: 'in' }, defaultEndpoint: '127.0.0.1:22' }]),
    CONFIGURED,
    ONLY_GRANTABLE,
  ],
  [
    'a Sidecar for some workloads',
    sidecar('spec workloadSelector', { labels: { app: 'orders' } }),
    CONFIGURED,
    ONLY_GRANTABLE,
  ],
  ['a Sidecar for the workloads of a namespace', sidecar('metadata namespace', 'shop'), CONFIGURED, ONLY_GRANTS],
  ['a Sidecar for the whole mesh', sidecar('metadata namespace', 'istio-system'), CONFIGURED, ONLY_GRANTS],
  ['a Sidecar beside the broker', sidecar('metadata namespace', 'meshpass-system'), CONFIGURED, ONLY_GRANTS],
  [
    'a Sidecar in a meshpass-* namespace of others',
    sidecar('metadata namespace', 'meshpass-theirs'),
    CONFIGURED,
    ONLY_GRANTS,
  ],
  ['a second Sidecar', sidecar('metadata name', 'meshpass-2'), CONFIGURED, ONLY_GRANTS],
  [
    'deletion of a Sidecar of others',
    remove(changed(SIDECAR, 'metadata namespace', 'meshpass-theirs')),
    CONFIGURED,
    ONLY_GRANTS,
  ],
];
