import type { LookupAddress } from 'node:dns';
import { expect, it } from 'vitest';
import { createAddressLookup } from '../src/address.ts';

const FOUND: LookupAddress[] = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map((address) => ({ address, family: 4 }));
const resolve = (addresses: ReturnType<typeof createAddressLookup>, all: boolean) =>
  new Promise((done) => addresses.lookup('broker.example', { all }, (...answer) => done(answer)));

it('tries the address that failed last after all others', async () => {
  const addresses = createAddressLookup((_host, _options, done) => done(null, FOUND));
  const [first, second, third] = FOUND;
  expect(await resolve(addresses, true)).toEqual([null, FOUND]);
  addresses.failed('192.0.2.1');
  expect(await resolve(addresses, true)).toEqual([null, [second, third, first]]);
  expect(await resolve(addresses, false)).toEqual([null, '192.0.2.2', 4]);
  addresses.failed('192.0.2.2');
  expect(await resolve(addresses, true)).toEqual([null, [first, third, second]]);
  // A failure before any connection reveals nothing about an address.
  addresses.failed(undefined);
  expect(await resolve(addresses, true)).toEqual([null, [first, third, second]]);
});

it('passes on the error for an unknown name', async () => {
  const error = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
  const addresses = createAddressLookup((_host, _options, done) => done(error, []));
  for (const all of [true, false]) expect(await resolve(addresses, all)).toMatchObject([{ code: 'ENOTFOUND' }, []]);
});
