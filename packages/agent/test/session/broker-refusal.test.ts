/** Error messages about a broker that the agent cannot reach. */
import { expect, it } from 'vitest';
import { brokerUnreachableError } from '../../src/session/broker-client.ts';

const because = (code: string) =>
  brokerUnreachableError('https://broker.example.com', code, Object.assign(new Error(code), { code })).message;

it('reports an expired certificate, and whom to contact', () => {
  expect(because('CERT_HAS_EXPIRED')).toBe(
    "Cannot reach the broker https://broker.example.com (its certificate has expired). Ask your platform team to renew it. If other machines accept it, correct this machine's clock.",
  );
});

it('reports an untrusted CA, and how to trust it', () => {
  expect(because('SELF_SIGNED_CERT_IN_CHAIN')).toContain(
    '(its certificate is not trusted here). If your own CA issued it',
  );
});

it("passes on Node's error code in all other cases", () => {
  expect(because('ECONNREFUSED')).toBe(
    'Cannot reach the broker https://broker.example.com (ECONNREFUSED). Check the address and that this workspace may connect to it.',
  );
});
