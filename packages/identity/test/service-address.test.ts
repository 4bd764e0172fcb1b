import { describe, expect, it } from 'vitest';
import { isServiceAddress, SERVICE_ADDRESSES, serviceAddress } from '../src/service-address.ts';
import { ReachableService } from '../src/wire.ts';

describe('service addresses', () => {
  it('are in 127.64.0.0/10 and never end in 0 or 255', () => {
    const indexes = [0, 1, 253, 254, 255 * 254, 256 * 254, SERVICE_ADDRESSES - 1];
    expect(indexes.map(serviceAddress)).toEqual([
      '127.64.0.1',
      '127.64.0.2',
      '127.64.0.254',
      '127.64.1.1',
      '127.64.255.1',
      '127.65.0.1',
      '127.127.255.254',
    ]);
  });

  it('are distinct, and each is recognized', () => {
    const seen = new Set<string>();
    for (let index = 0; index < SERVICE_ADDRESSES; index += 61) {
      const address = serviceAddress(index);
      if (!isServiceAddress(address)) throw new Error(`${address} is not recognized`);
      seen.add(address);
    }
    expect(seen.size).toBe(Math.ceil(SERVICE_ADDRESSES / 61));
  });

  it('wrap around after the last index', () => {
    expect(serviceAddress(SERVICE_ADDRESSES)).toBe(serviceAddress(0));
  });

  it.each([
    '127.64.0.0',
    '127.64.0.255',
    '127.63.255.254',
    '127.128.0.1',
    '127.0.0.1',
    '10.64.0.1',
    '127.064.0.1',
    '127.64.0.01',
    '127.64.256.1',
    '127.64.1',
    '127.64.0.1:80',
    ' 127.64.0.1',
    '127.64.0.1\n',
    '::ffff:127.64.0.1',
  ])('refuses %j', (text) => {
    expect(isServiceAddress(text)).toBe(false);
  });

  it('are validated in the service list of an agent', () => {
    const service = {
      grant: 'dev',
      host: 'orders.shop.svc.cluster.local',
      port: 80,
      aliases: [],
      protocol: 'http',
      spiffe_ids: [],
    };
    const accepts = (address: string) => ReachableService.safeParse({ ...service, address }).success;
    expect(ReachableService.safeParse(service).success).toBe(true);
    expect(accepts('127.90.3.7')).toBe(true);
    expect(accepts('127.0.0.1')).toBe(false);
    expect(accepts('0.0.0.0')).toBe(false);
  });
});
