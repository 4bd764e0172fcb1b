import { expect, it } from 'vitest';
import { addressChanges, assignAddresses, namesOf, type ServiceObject } from '../../src/cluster/cloud/assign.ts';

function balancer(name: string, more: Partial<ServiceObject> = {}): ServiceObject {
  return { metadata: { namespace: 'front', name }, spec: { type: 'LoadBalancer' }, ...more };
}

function having(ip: string): Pick<ServiceObject, 'status'> {
  return { status: { loadBalancer: { ingress: [{ ip }] } } };
}

it('a Service keeps its address, and a new one gets the lowest free one', () => {
  const services = [balancer('new'), balancer('old', having('203.0.113.130')), balancer('newer')];
  expect([...assignAddresses(services)]).toEqual([
    ['front/old', '203.0.113.130'],
    ['front/new', '203.0.113.131'],
    ['front/newer', '203.0.113.132'],
  ]);
});

it('only Services that ask this cloud for a load balancer get an address', () => {
  const others = [
    balancer('inside', { spec: { type: 'ClusterIP' } }),
    balancer('elsewhere', { spec: { type: 'LoadBalancer', loadBalancerClass: 'example.com/other' } }),
  ];
  expect(assignAddresses(others).size).toBe(0);
});

it('two Services that claim one address do not share it', () => {
  const addresses = assignAddresses([balancer('a', having('203.0.113.140')), balancer('b', having('203.0.113.140'))]);
  expect(new Set(addresses.values()).size).toBe(2);
});

it('a restarted cloud reclaims addresses of deleted Services, and no other address of the node', () => {
  const has = new Set(['203.0.113.1', '203.0.113.130', '203.0.113.131']);
  expect(addressChanges(has, new Set(['203.0.113.131', '203.0.113.132']))).toEqual({
    add: ['203.0.113.132'],
    remove: ['203.0.113.130'],
  });
});

it('names come from the annotation, and those of broker and edge are known', () => {
  const annotations = { 'external-dns.alpha.kubernetes.io/hostname': 'a.test, b.test' };
  const services = [
    balancer('app', { metadata: { namespace: 'front', name: 'app', annotations } }),
    balancer('edge', { metadata: { namespace: 'meshpass-system', name: 'meshpass-edge' } }),
    balancer('without'),
  ];
  expect([...namesOf(services, assignAddresses(services))]).toEqual([
    ['a.test', '203.0.113.130'],
    ['b.test', '203.0.113.130'],
    ['edge.meshpass.test', '203.0.113.131'],
  ]);
});
