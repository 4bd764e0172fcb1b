import { describe, expect, it } from 'vitest';
import { LabError } from '../src/error.ts';
import { hostsFile, isOptionalHost, planLab } from '../src/plan.ts';
import { checkName } from '../src/state.ts';

describe('the plan of a lab', () => {
  const plan = planLab('one', 7, []);
  const names = (host: string): string => hostsFile(plan, plan.hosts[host]!);

  it('gives a workspace only the names of the broker and the edge, at their internet address', () => {
    expect(names('workspace').split('\n')).toEqual([
      '127.0.0.1 localhost',
      '203.0.113.10 workspace',
      '203.0.113.1 broker.meshpass.test',
      '203.0.113.1 edge.meshpass.test',
      '',
    ]);
  });

  it('leads hosts with a sidecar to the cluster addresses of services, and others to the gateway alone', () => {
    expect(names('client')).toContain('10.96.1.10 orders.shop.svc.cluster.local orders.shop.svc orders.shop\n');
    expect(names('meshpass')).not.toContain('orders.shop');
    expect(names('meshpass')).toContain('10.201.7.20 meshpass-gateway.meshpass-system.svc.cluster.local');
  });

  it('has optional hosts only when asked, without moving the others', () => {
    const more = planLab('one', 7, ['stock', 'workspace-2']);
    expect(plan.hosts.stock).toBeUndefined();
    expect(more.hosts.stock?.ip).toBe('10.201.7.60');
    expect(more.hosts['workspace-2']?.ip).toBe('203.0.113.12');
    for (const host of Object.values(plan.hosts)) expect(more.hosts[host.name]).toEqual(host);
  });

  it('has the services of optional hosts only with them, and leads a headless name to the hosts themselves', () => {
    const more = planLab('one', 7, ['echo-v1', 'echo-v2']);
    const services = (of: typeof plan): string[] => of.services.map(({ name }) => name);
    expect(services(plan)).not.toContain('echo');
    expect(services(more)).toEqual(expect.arrayContaining(['orders', 'echo', 'echo-headless']));
    const client = hostsFile(more, more.hosts.client!);
    expect(client).toContain('10.96.1.20 echo.shop.svc.cluster.local');
    expect(client).toContain('10.201.7.71 echo-headless.shop.svc.cluster.local');
    expect(client).toContain('10.201.7.72 echo-headless.shop.svc.cluster.local');
  });

  it('has all hosts and services of ambient mode together, and names them in Pods', () => {
    const more = planLab('one', 7, ['ambient']);
    expect(plan.ambient).toBe(false);
    expect(more.ambient).toBe(true);
    expect(Object.keys(more.hosts)).toEqual(expect.arrayContaining(['node', 'hello', 'direct', 'caller', 'waypoint']));
    expect(hostsFile(more, more.hosts.caller!)).toContain('10.96.4.10 hello.ambient.svc.cluster.local');
    expect(hostsFile(more, more.hosts.node!)).not.toContain('hello.ambient');
  });

  it('keeps labs of different names and subnets apart', () => {
    const other = planLab('two', 8, []);
    const all = (of: typeof plan): string[] => Object.values(of.hosts).map((host) => host.netns);
    expect(all(plan).filter((netns) => all(other).includes(netns))).toEqual([]);
    expect(other.link).not.toBe(plan.link);
  });

  it.each(['stock', 'echo-v1', 'gateway-api', 'ambient', 'workspace-2', 'workspace-9'])(
    '%s is an optional host',
    (host) => {
      expect(isOptionalHost(host)).toBe(true);
    },
  );

  it.each(['workspace', 'workspace-1', 'workspace-22', 'orders', '../x', ''])('%j is none', (host) => {
    expect(isOptionalHost(host)).toBe(false);
  });

  it.each(['', 'A', 'a-b', '../x', '1a', 'a'.repeat(17)])('refuses %j as the name of a lab', (name) => {
    expect(() => checkName(name)).toThrow(LabError);
  });
});
