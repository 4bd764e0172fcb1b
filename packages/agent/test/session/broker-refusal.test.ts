/** What an agent says of a broker that it does not reach. */
import { expect, it } from 'vitest';
import { unreachable } from '../../src/session/broker-refusal.ts';

const because = (code: string) =>
  unreachable('https://broker.example.com', code, Object.assign(new Error(code), { code })).message;

it('names an expired certificate, and whom to tell', () => {
  expect(because('CERT_HAS_EXPIRED')).toBe(
    'The broker https://broker.example.com cannot be reached (its certificate has expired). Tell your platform team, who must renew it; if it is good elsewhere, the clock here is wrong.',
  );
});

it('names a CA that is not trusted here, and how to have it trusted', () => {
  expect(because('SELF_SIGNED_CERT_IN_CHAIN')).toContain(
    '(its certificate is not trusted here). If that is your own CA',
  );
});

it('says of anything else what Node says', () => {
  expect(because('ECONNREFUSED')).toBe(
    'The broker https://broker.example.com cannot be reached (ECONNREFUSED). Check the address and that this workspace may connect to it.',
  );
});
