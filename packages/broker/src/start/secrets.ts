/** Reads all secrets from their files at startup, so that even a standby fails right away if a file is missing. */
import { MeshpassError } from '@meshpass/identity';
import { openReadOnlyLog } from '../audit/index.ts';
import { readConfiguredFile, readPrivateFile } from '../base/index.ts';
import { readKeyPair } from '../http/index.ts';
import type { Base } from './parts.ts';

export type Secrets = Awaited<ReturnType<typeof readSecrets>>;

const MIN_TOKEN = 32;

/**
 * Reads all secrets that the configuration refers to.
 * @throws MeshpassError `config_invalid`
 */
export async function readSecrets({ config, given }: Base) {
  if (config.breakGlass && config.operatorTokenFile === undefined)
    throw new MeshpassError(
      'config_invalid',
      'Break-glass is on (--break-glass), but no token is configured: set --operator-token to the token file.',
    );
  const operatorToken = config.breakGlass ? readToken(config.operatorTokenFile, 'operator') : undefined;
  const githubEventToken = readToken(config.githubEventTokenFile, 'GitHub audit log');
  if (githubEventToken !== undefined && !given.github)
    throw new MeshpassError(
      'config_invalid',
      "GitHub's audit log stream requires a broker that can query GitHub: configure a GitHub App or a token file.",
    );
  const auditLog = await openReadOnlyLog(config, given.checkpointSinks ?? []);
  readKeyPair(config.tls);
  return {
    /** The break-glass token, or undefined if break-glass access is disabled. */
    operatorToken,
    githubEventToken,
    auditLog,
  };
}

/**
 * Reads a token from a file and checks its length.
 * @param whose a description of the token, for error messages
 */
function readToken(file: string | undefined, whose: string): string | undefined {
  if (file === undefined) return undefined;
  const token = readConfiguredFile(`the ${whose} token file ${file}`, () => readPrivateFile(file)).trim();
  if (token.length >= MIN_TOKEN) return token;
  throw new MeshpassError('config_invalid', `The ${whose} token must have at least ${MIN_TOKEN} characters.`);
}
