/**
 * Storage of an operator's token, its key and the issuer's refresh token: one file per broker in the user's state
 * directory, readable only by its owner. A token lasts five minutes and is useless without the key, which stays until
 * the session ends. `meshpass logout` and the next sign-in revoke the refresh token.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type DpopKey, dpopKey } from '@meshpass/identity/dpop';
import { fileProblem, MeshpassError } from '@meshpass/identity/error';
import { sha256Hex } from '@meshpass/identity/hash';
import { z } from 'zod';
import { withLockFile } from './lock-file.ts';

/** Long enough for another command's requests to issuer and broker. */
const LOCK_MS = 90_000;

const Refresh = z.object({
  /** Issuer name in the access file. */
  name: z.string(),
  issuer: z.url(),
  client: z.string(),
  token: z.string().min(1),
});
/** Refresh token, with its issuer and client. */
export type Refresh = z.infer<typeof Refresh>;

const Stored = z.object({
  /** Origin of the operator listener. */
  operator: z.string(),
  /** The broker's public URL, for which DPoP proofs are made. */
  broker: z.url(),
  token: z.string().min(1),
  /** PKCS #8, PEM. */
  key: z.string(),
  /** Unix seconds. */
  expiresAt: z.number(),
  /** When the issuer must next confirm the person, Unix seconds. */
  confirmUntil: z.number(),
  refresh: Refresh.optional(),
});
type Stored = z.infer<typeof Stored>;

export interface OperatorSessionFile {
  readonly broker: string;
  readonly token: string;
  readonly key: DpopKey;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** Unix seconds. */
  readonly confirmUntil: number;
  /** Absent if the issuer issued none. */
  readonly refresh?: Refresh | undefined;
}

/**
 * Reads a session.
 * @param operator origin of the operator listener
 * @param now Unix seconds
 * @returns undefined if there is no session, or it has expired
 * @throws MeshpassError `config_invalid` if the file is damaged, or other users can read it
 */
export function readOperatorSession(
  operator: string,
  environment: NodeJS.ProcessEnv,
  now = Date.now() / 1000,
): OperatorSessionFile | undefined {
  const stored = read(operator, environment);
  if (!stored || stored.expiresAt <= now) return undefined;
  const { operator: _, key, ...session } = stored;
  try {
    return { ...session, key: dpopKey(createPrivateKey(key)) };
  } catch (cause) {
    throw damaged(fileOf(operator, environment), cause);
  }
}

/**
 * Reads a refresh token in order to revoke it, even if the session has expired or other users could read the file: they
 * may have copied the token.
 * @throws MeshpassError `config_invalid` if the file is damaged or cannot be read
 */
export function readRefresh(operator: string, environment: NodeJS.ProcessEnv): Refresh | undefined {
  return read(operator, environment, 0)?.refresh;
}

/**
 * Stores a session, replacing the previous one.
 * @throws MeshpassError `config_invalid` if the file cannot be written
 */
export function writeOperatorSession(
  operator: string,
  { key, ...session }: Omit<OperatorSessionFile, 'key'> & { readonly key: KeyObject },
  environment: NodeJS.ProcessEnv,
): void {
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  write({ ...session, operator: originOf(operator), key: pem }, environment);
}

/**
 * Updates fields of a stored session, unless another session, with another key, has replaced it. The caller must hold
 * the lock.
 * @throws MeshpassError `config_invalid`
 */
export function changeOperatorSession(
  operator: string,
  { key }: Pick<OperatorSessionFile, 'key'>,
  change: Partial<Pick<OperatorSessionFile, 'token' | 'expiresAt' | 'confirmUntil' | 'refresh'>>,
  environment: NodeJS.ProcessEnv,
): void {
  const stored = read(operator, environment);
  if (stored && dpopKey(createPrivateKey(stored.key)).jwk.x === key.jwk.x) write({ ...stored, ...change }, environment);
}

/** Deletes a stored session. */
export function removeOperatorSession(operator: string, environment: NodeJS.ProcessEnv): void {
  rmSync(fileOf(operator, environment), { force: true });
}

/**
 * Runs `work` while no other command changes this broker's file, because most issuers accept a refresh token only once.
 * @throws MeshpassError `config_invalid` if another command holds the lock too long; errors of `work`
 */
export async function exclusively<T>(
  operator: string,
  environment: NodeJS.ProcessEnv,
  work: () => Promise<T>,
): Promise<T> {
  prepareDirectory(operator, environment);
  return await withLockFile(`${fileOf(operator, environment)}.lock`, LOCK_MS, work);
}

/**
 * Reads and validates the file.
 * @param forbidden mode bits that must not be set
 */
function read(operator: string, environment: NodeJS.ProcessEnv, forbidden = 0o077): Stored | undefined {
  const path = fileOf(operator, environment);
  let text: string;
  try {
    if ((statSync(path).mode & forbidden) !== 0)
      throw new MeshpassError(
        'config_invalid',
        `${path} contains a key, and other users can read it. Run chmod 600 on it, or run meshpass login again.`,
      );
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('config_invalid', `Cannot read ${path}: ${fileProblem(cause)}.`, { cause });
  }
  try {
    return Stored.parse(JSON.parse(text));
  } catch (cause) {
    throw damaged(path, cause);
  }
}

function write(stored: Stored, environment: NodeJS.ProcessEnv): void {
  const path = fileOf(stored.operator, environment);
  const draft = `${path}.${process.pid}.new`;
  prepareDirectory(stored.operator, environment);
  try {
    writeFileSync(draft, JSON.stringify(stored), { mode: 0o600 });
    renameSync(draft, path);
  } catch (cause) {
    throw new MeshpassError('config_invalid', `Cannot write ${path}: ${fileProblem(cause)}.`, { cause });
  }
}

function prepareDirectory(operator: string, environment: NodeJS.ProcessEnv): void {
  const folder = directory(environment);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
  } catch (cause) {
    const path = fileOf(operator, environment);
    throw new MeshpassError('config_invalid', `Cannot write ${path}: ${fileProblem(cause)}.`, { cause });
  }
}

function damaged(path: string, cause: unknown): MeshpassError {
  return new MeshpassError('config_invalid', `${path} is corrupted. Run meshpass login again.`, { cause });
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
