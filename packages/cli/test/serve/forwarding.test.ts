/** Address of Codespaces' forwarded ports: GitHub, or in a lab the value of a flag with an alarming name. */
import { forwardingHostOnlyInALab } from '@meshpass/broker/attest/presence/forwarded-port';
import { expect, it, vi } from 'vitest';
import { serveFlags } from '../../src/serve/flags.ts';
import { forwardingOf } from '../../src/serve/start-broker.ts';

const read = (address: string) =>
  serveFlags.labOnlySendGithubTokensTo.read(address, '--lab-only-send-github-tokens-to', undefined);
const log = { fatal: vi.fn() };

it('is GitHub by default', () => {
  expect(forwardingOf({}, log)[forwardingHostOnlyInALab]).toBeUndefined();
  expect(log.fatal).not.toHaveBeenCalled();
});

it.each(['elsewhere', 'https://elsewhere:443', ':8444'])('is refused at %s', (address) => {
  expect(() => read(address)).toThrow(expect.objectContaining({ code: 'usage' }));
});

it('is that address in a lab, with a log line at every start', () => {
  const options = forwardingOf({ labOnlySendGithubTokensTo: read('192.0.2.1:8444') }, log);
  expect(options[forwardingHostOnlyInALab]).toEqual({ host: '192.0.2.1', port: 8444 });
  expect(log.fatal).toHaveBeenCalledExactlyOnceWith({ address: '192.0.2.1:8444' }, expect.stringContaining('LAB ONLY'));
});
