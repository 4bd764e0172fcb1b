/** Everything that the broker reads from files: a standby must find out about a missing one before it is needed. */
import { join } from 'node:path';
import { fileProblem, MeshpassError } from '@meshpass/identity';
import { type AuditKey, openAuditKey } from '../audit/checkpoint/key.ts';
import { readPrivateFile } from '../secrets/key-file.ts';
import { readKeyPair } from '../secrets/key-pair.ts';
import type { Base } from './parts.ts';

export interface Secrets {
  /** The break-glass token; undefined where break-glass is off. */
  readonly operatorToken: string | undefined;
  readonly githubEventToken: string | undefined;
  readonly auditKey: AuditKey;
}

const MIN_TOKEN = 32;

/** @throws MeshpassError `config_invalid` */
export async function readSecrets({ config, given }: Base): Promise<Secrets> {
  if (config.breakGlass && config.operatorTokenFile === undefined)
    throw new MeshpassError(
      'config_invalid',
      'Break-glass is on (--break-glass), but there is no token for it: name its file with --operator-token.',
    );
  const operatorToken = config.breakGlass ? readToken(config.operatorTokenFile, 'operators') : undefined;
  const githubEventToken = readToken(config.githubEventTokenFile, "GitHub's audit log");
  if (githubEventToken !== undefined && !given.github)
    throw new MeshpassError(
      'config_invalid',
      "GitHub's audit log stream is useful only if the broker can query GitHub: configure a GitHub App or a token file.",
    );
  const auditKey = await openAuditKey(
    config.auditKeyFile ?? join(config.dataDir, 'audit-key.pem'),
    config.publicUrl,
    config.auditKeyFile === undefined,
  );
  readKeyPair(config.tls);
  return { operatorToken, githubEventToken, auditKey };
}

/** @param whose for messages */
function readToken(file: string | undefined, whose: string): string | undefined {
  if (file === undefined) return undefined;
  let token: string;
  try {
    token = readPrivateFile(file).trim();
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError(
      'config_invalid',
      `The file ${file} with the token of ${whose} cannot be read: ${fileProblem(cause)}.`,
      { cause },
    );
  }
  if (token.length >= MIN_TOKEN) return token;
  throw new MeshpassError('config_invalid', `The token of ${whose} must have at least ${MIN_TOKEN} characters.`);
}
