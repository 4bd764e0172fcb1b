/**
 * Where an operator's session, its key and the issuer's refresh token are kept: one file a broker, in the user's state directory, which
 * nobody else may read. A session is over after an hour or so, and its token is worth nothing without the key; the refresh token is taken
 * back by `meshpass logout`, and by the next sign-in.
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

/** Another command asks issuer and broker meanwhile. */
const LOCK_MS = 90_000;

const Refresh = z.object({
  /** Name in the access file. */
  name: z.string(),
  issuer: z.url(),
  client: z.string(),
  token: z.string().min(1),
});
/** A refresh token, and where it is good. */
export type Refresh = z.infer<typeof Refresh>;

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
  /** Unix seconds until which the issuer need not confirm the person. */
  confirmUntil: z.number().optional(),
  refresh: Refresh.optional(),
});
type Stored = z.infer<typeof Stored>;

export interface OperatorSessionFile {
  readonly broker: string;
  readonly token: string;
  readonly key: DpopKey;
  /** Unix seconds. */
  readonly expiresAt: number;
  readonly confirmUntil?: number | undefined;
  /** Absent: the issuer gave none. */
  readonly refresh?: Refresh | undefined;
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
 * What is to be taken back: also where the session is over, and where others could read the file, for these have it then.
 * @throws MeshpassError `config_invalid` where the file cannot be read or is damaged
 */
export function readRefresh(operator: string, environment: NodeJS.ProcessEnv): Refresh | undefined {
  return read(operator, environment, 0)?.refresh;
}

/** @throws MeshpassError `config_invalid` where it cannot be written */
export function writeOperatorSession(
  operator: string,
  { key, ...session }: Omit<OperatorSessionFile, 'key'> & { readonly key: KeyObject },
  environment: NodeJS.ProcessEnv,
): void {
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  write({ ...session, operator: originOf(operator), key: pem }, environment);
}

/**
 * What changes while a session goes on; where another one has come in its place, nothing does. To be called by who holds the lock.
 * @throws MeshpassError `config_invalid`
 */
export function changeOperatorSession(
  operator: string,
  { token }: Pick<OperatorSessionFile, 'token'>,
  change: Partial<Pick<OperatorSessionFile, 'expiresAt' | 'confirmUntil' | 'refresh'>>,
  environment: NodeJS.ProcessEnv,
): void {
  const stored = read(operator, environment);
  if (stored?.token === token) write({ ...stored, ...change }, environment);
}

export function removeOperatorSession(operator: string, environment: NodeJS.ProcessEnv): void {
  rmSync(fileOf(operator, environment), { force: true });
}

/**
 * Runs `work` while no other command changes what is kept for this broker: most issuers take a refresh token once.
 * @throws MeshpassError `config_invalid` where another one does so for too long; what `work` throws
 */
export async function exclusively<T>(
  operator: string,
  environment: NodeJS.ProcessEnv,
  work: () => Promise<T>,
): Promise<T> {
  prepareDirectory(operator, environment);
  return await withLockFile(`${fileOf(operator, environment)}.lock`, LOCK_MS, work);
}

/** @param forbidden bits of the file's mode */
function read(operator: string, environment: NodeJS.ProcessEnv, forbidden = 0o077): Stored | undefined {
  const path = fileOf(operator, environment);
  let text: string;
  try {
    if ((statSync(path).mode & forbidden) !== 0)
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
    throw new MeshpassError('config_invalid', `${path} cannot be written: ${fileProblem(cause)}.`, { cause });
  }
}

function prepareDirectory(operator: string, environment: NodeJS.ProcessEnv): void {
  const folder = directory(environment);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
  } catch (cause) {
    const path = fileOf(operator, environment);
    throw new MeshpassError('config_invalid', `${path} cannot be written: ${fileProblem(cause)}.`, { cause });
  }
}

function damaged(path: string, cause: unknown): MeshpassError {
  return new MeshpassError('config_invalid', `${path} is damaged: run meshpass login again.`, { cause });
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
