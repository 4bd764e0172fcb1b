/**
 * Where an operator's session and its key are kept: one file a broker, in the user's state directory, which nobody else may read. A
 * session is over after an hour or so, and its token is worth nothing without the key.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type DpopKey, dpopKey } from '@meshpass/identity/dpop';
import { fileProblem, MeshpassError } from '@meshpass/identity/error';
import { sha256Hex } from '@meshpass/identity/hash';
import { z } from 'zod';

const Stored = z.object({
  /** Origin that it is for. */
  operator: z.string(),
  /** The broker's own name for itself: what proofs are made for. */
  broker: z.url(),
  token: z.string().regex(/^mpo_[A-Za-z0-9_-]{43}$/),
  /** PKCS #8, PEM. */
  key: z.string(),
  /** Unix seconds. */
  expiresAt: z.number(),
});

export interface OperatorSessionFile {
  readonly broker: string;
  readonly token: string;
  readonly key: DpopKey;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/**
 * @param operator origin of the operator listener
 * @returns undefined where nobody has signed in there, or the session is over
 * @throws MeshpassError `config_invalid` where others may read the file, or it is damaged
 */
export function readOperatorSession(
  operator: string,
  environment: NodeJS.ProcessEnv,
  now = Date.now() / 1000,
): OperatorSessionFile | undefined {
  const path = fileOf(operator, environment);
  let text: string;
  try {
    if ((statSync(path).mode & 0o077) !== 0)
      throw new MeshpassError(
        'config_invalid',
        `${path} holds a key, and others may read it: chmod 600 it, or log in again.`,
      );
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('config_invalid', `${path} cannot be read: ${fileProblem(cause)}.`, { cause });
  }
  try {
    const { broker, token, key, expiresAt } = Stored.parse(JSON.parse(text));
    return expiresAt > now ? { broker, token, key: dpopKey(createPrivateKey(key)), expiresAt } : undefined;
  } catch (cause) {
    throw new MeshpassError('config_invalid', `${path} is damaged: run meshpass login again.`, { cause });
  }
}

/** @throws MeshpassError `config_invalid` where it cannot be written */
export function writeOperatorSession(
  operator: string,
  { broker, token, key, expiresAt }: Omit<OperatorSessionFile, 'key'> & { readonly key: KeyObject },
  environment: NodeJS.ProcessEnv,
): void {
  const path = fileOf(operator, environment);
  const stored = {
    operator: originOf(operator),
    broker,
    token,
    key: key.export({ type: 'pkcs8', format: 'pem' }),
    expiresAt,
  };
  try {
    const folder = directory(environment);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    writeFileSync(`${path}.new`, JSON.stringify(stored), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (cause) {
    throw new MeshpassError('config_invalid', `${path} cannot be written: ${fileProblem(cause)}.`, { cause });
  }
}

export function removeOperatorSession(operator: string, environment: NodeJS.ProcessEnv): void {
  rmSync(fileOf(operator, environment), { force: true });
}

function fileOf(operator: string, environment: NodeJS.ProcessEnv): string {
  return join(directory(environment), `operator-${sha256Hex(originOf(operator)).slice(0, 16)}.json`);
}

function originOf(operator: string): string {
  return URL.canParse(operator) ? new URL(operator).origin : operator;
}

function directory({ MESHPASS_STATE_DIR, XDG_STATE_HOME, HOME }: NodeJS.ProcessEnv): string {
  return MESHPASS_STATE_DIR || join(XDG_STATE_HOME || join(HOME || homedir(), '.local', 'state'), 'meshpass');
}
