import { isServiceAddress } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { loopbackAddresses, parseAccess, reachableServices } from '../../src/index.ts';
import { LEDGER, MESH, ORDERS } from '../shop.ts';

const hosts = (count: number) => Array.from({ length: count }, (_, index) => `s${index}.shop.svc.cluster.local`);
/** Two names that hash to the same address. */
const FIRST = 's269.shop.svc.cluster.local';
const SECOND = 's3282.shop.svc.cluster.local';

describe('loopback addresses', () => {
  it('are in 127.64.0.0/10, one for each of 20,000 hosts', () => {
    const addresses = [...loopbackAddresses(hosts(20_000)).values()];
    expect(addresses.filter((address) => !isServiceAddress(address))).toEqual([]);
    expect(new Set(addresses).size).toBe(20_000);
  });

  it('stay when hosts are added after them', () => {
    const few = loopbackAddresses(hosts(5_000));
    const many = loopbackAddresses(hosts(20_000));
    for (const [host, address] of few) if (many.get(host) !== address) throw new Error(`${host} moved`);
    expect(many.size).toBe(20_000);
  });

  it('do not depend on the other hosts, but for those that hash alike', () => {
    const forwards = loopbackAddresses(hosts(300));
    const backwards = loopbackAddresses(hosts(300).toReversed());
    expect([...forwards].filter(([host, address]) => backwards.get(host) !== address)).toEqual([]);
  });

  it('of two hosts that hash alike give the first its own and the second the next', () => {
    const alone = loopbackAddresses([FIRST]).get(FIRST)!;
    expect(loopbackAddresses([SECOND]).get(SECOND)).toBe(alone);
    const both = loopbackAddresses([FIRST, SECOND]);
    expect(both.get(FIRST)).toBe(alone);
    expect(both.get(SECOND)).not.toBe(alone);
    expect(loopbackAddresses([SECOND, FIRST]).get(SECOND)).toBe(alone);
  });

  it('take a name that comes twice for one host', () => {
    const [host] = hosts(1) as [string];
    expect([...loopbackAddresses([host, host]).keys()]).toEqual([host]);
  });

  it('are the same for a host in every session, whatever grants it holds, and for all ports of the host', () => {
    const access = parseAccess(
      `trust: {codespaces: {organization: acme}}
grants:
  a: {who: [{user: x}], to: [{service: ledger-db.shop, port: 5432}, {service: orders.shop, port: 8080}]}
  b: {who: [{user: x}], to: [{service: orders.shop, port: 8080}, {service: orders.shop, port: 9090}]}`,
      'access.yaml',
    );
    const ports = ORDERS.ports.map((port) => ({ ...port, protocol: 'http' as const }));
    const mesh = { ...MESH, services: [{ ...ORDERS, ports }, LEDGER] };
    const addressOf = (grants: readonly string[], port: number) =>
      reachableServices(access, mesh, grants).find((service) => service.port === port)?.address;
    expect(addressOf(['a'], 8080)).toBe(addressOf(['b'], 8080));
    expect(addressOf(['b'], 9090)).toBe(addressOf(['a', 'b'], 8080));
    expect(addressOf(['a'], 5432)).not.toBe(addressOf(['a'], 8080));
  });
});
