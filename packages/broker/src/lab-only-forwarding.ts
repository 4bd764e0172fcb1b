/**
 * LAB ONLY. Has the broker look for Codespaces' forwarded ports at another address than GitHub's: whoever listens there is given
 * the GITHUB_TOKEN of every Codespace that enrols. The broker refuses to start with it unless a second variable says that this is
 * wanted, and says so in its log at every start. Names, TLS and everything else stay as they are.
 */
import { MeshpassError } from '@meshpass/identity';
import type { Logger } from 'pino';
import { type ForwardingOptions, forwardingHostOnlyInALab } from './attest/forwarded-port.ts';

const WHERE = 'MESHPASS_LAB_ONLY_FORWARDING_ADDRESS';
const WANTED = 'MESHPASS_LAB_ONLY_SEND_GITHUB_TOKENS_TO_THAT_ADDRESS';

/**
 * @returns more of ForwardingOptions; nothing outside of a lab
 * @throws MeshpassError `config_invalid` where it is named without the second variable, or is no HOST:PORT
 */
export function readLabOnlyForwarding(
  env: Readonly<Record<string, string | undefined>>,
  log: Pick<Logger, 'fatal'>,
): Pick<ForwardingOptions, typeof forwardingHostOnlyInALab> {
  const named = env[WHERE];
  if (named === undefined || named === '') return {};
  const [, host, port] = /^([A-Za-z0-9.-]+):([0-9]{1,5})$/.exec(named) ?? [];
  if (host === undefined) throw new MeshpassError('config_invalid', `${WHERE} must be HOST:PORT.`);
  if (env[WANTED] !== 'yes')
    throw new MeshpassError(
      'config_invalid',
      `${WHERE} sends the GitHub tokens of Codespaces to another address than GitHub's. It is for tests in a lab; unset it.`,
    );
  log.fatal({ address: named }, "LAB ONLY: GitHub tokens of Codespaces are sent to another address than GitHub's");
  return { [forwardingHostOnlyInALab]: { host, port: Number(port) } };
}
