/** Address of Codespaces' forwarded ports: GitHub, or in a lab the value of a flag with an alarming name. */
import { labOnlyForwardingHost } from '@meshpass/broker/attest/presence/forwarded-port';
import { expect, it, vi } from 'vitest';
import { serveFlags } from '../../src/serve/flags.ts';
import { resolveForwarding } from '../../src/serve/start-broker.ts';

const read = (address: string) =>
  serveFlags.labOnlySendGithubTokensTo.read(address, '--lab-only-send-github-tokens-to', undefined);
const log = { fatal: vi.fn() };

it('is GitHub by default', () => {
  expect(resolveForwarding({}, log)[labOnlyForwardingHost]).toBeUndefined();
  expect(log.fatal).not.toHaveBeenCalled();
});

it.each(['elsewhere', 'https://elsewhere:443', ':8444'])('is refused at %s', (address) => {
  expect(() => read(address)).toThrow(expect.objectContaining({ code: 'usage' }));
});

it('is that address in a lab, with a log line at every start', () => {
  const options = resolveForwarding({ labOnlySendGithubTokensTo: read('192.0.2.1:8444') }, log);
  expect(options[labOnlyForwardingHost]).toEqual({ host: '192.0.2.1', port: 8444 });
  expect(log.fatal).toHaveBeenCalledExactlyOnceWith({ address: '192.0.2.1:8444' }, expect.stringContaining('LAB ONLY'));
});
