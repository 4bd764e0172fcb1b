/** GitHub tokens go to no other address than GitHub's by one mistake. */
import { expect, test } from 'vitest';
import { forwardingHostOnlyInALab } from '../src/attest/forwarded-port.ts';
import { readLabOnlyForwarding } from '../src/lab-only-forwarding.ts';

const ADDRESS = 'MESHPASS_LAB_ONLY_FORWARDING_ADDRESS';
const WANTED = 'MESHPASS_LAB_ONLY_SEND_GITHUB_TOKENS_TO_THAT_ADDRESS';
const said: unknown[] = [];
const log = { fatal: (...what: unknown[]) => void said.push(what) };

test('nothing is changed outside of a lab', () => {
  expect(readLabOnlyForwarding({}, log)).toEqual({});
  expect(readLabOnlyForwarding({ [WANTED]: 'yes' }, log)).toEqual({});
  expect(said).toEqual([]);
});

test.each([
  { [ADDRESS]: '192.0.2.1:8444' },
  { [ADDRESS]: 'evil', [WANTED]: 'yes' },
  { [ADDRESS]: '192.0.2.1:8444', [WANTED]: '' },
])('a broker does not start with %j', (env) => {
  expect(() => readLabOnlyForwarding(env, log)).toThrow(expect.objectContaining({ code: 'config_invalid' }));
});

test('both variables have tokens sent elsewhere, and the log says so', () => {
  const options = readLabOnlyForwarding({ [ADDRESS]: '192.0.2.1:8444', [WANTED]: 'yes' }, log);
  expect(options[forwardingHostOnlyInALab]).toEqual({ host: '192.0.2.1', port: 8444 });
  expect(JSON.stringify(said)).toContain('LAB ONLY');
});
