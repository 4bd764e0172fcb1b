/**
 * Stores an operator's token, its key, and the issuer's refresh token. There is one file per broker in the user's state
 * directory, which only the owner can read. A token is valid for five minutes and is useless without the key, which is
 * kept until the session ends. The refresh token is revoked by `meshpass logout` and by the next sign-in.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type DpopKey, describeFileError, dpopKey, MeshpassError, sha256Hex } from '@meshpass/identity';
import { z } from 'zod';
import { unreadableFileError } from '../input/files.ts';
import { withLockFile } from './lock-file.ts';

/**
 * How long to wait for the lock. This leaves enough time for the requests that another command may be sending to the
 * issuer and the broker.
 */
const LOCK_MS = 90_000;

/** Matches a signed token (a compact JWS). */
export const OPERATOR_TOKEN = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

const Refresh = z.object({
  /** The name of the issuer in the access file. */
  name: z.string(),
  issuer: z.url(),
  client: z.string(),
  token: z.string().min(1),
});
/** A refresh token, together with the issuer and the client that it belongs to. */
export type StoredRefreshToken = z.infer<typeof Refresh>;

const Stored = z.object({
  /** The origin of the operator listener. */
  operator: z.string(),
  /** The public URL of the broker, which the DPoP proofs are bound to. */
  broker: z.url(),
  token: z.string().min(1),
  /** The PEM-encoded private key (PKCS #8). */
  key: z.string(),
  /** When the token expires, in Unix seconds. */
  expiresAt: z.number(),
  /** The deadline for the issuer's next confirmation of the operator, in Unix seconds. */
  confirmUntil: z.number(),
  refresh: Refresh.optional(),
});
type Stored = z.infer<typeof Stored>;

export interface OperatorSession extends Omit<Stored, 'operator' | 'key'> {
  readonly key: DpopKey;
}

/**
 * The stored session of an operator at a single broker. Its methods throw MeshpassError `config_invalid` if the file
 * cannot be used.
 */
export class SessionFile {
  readonly #origin: string;
  readonly #folder: string;
  readonly #path: string;

  /**
   * @param operator the origin of the operator listener
   * @param environment the environment variables that determine the state directory
   */
  constructor(operator: string, environment: NodeJS.ProcessEnv = process.env) {
    const { MESHPASS_STATE_DIR, XDG_STATE_HOME, HOME } = environment;
    this.#origin = URL.canParse(operator) ? new URL(operator).origin : operator;
    this.#folder = MESHPASS_STATE_DIR || join(XDG_STATE_HOME || join(HOME || homedir(), '.local', 'state'), 'meshpass');
    this.#path = join(this.#folder, `operator-${sha256Hex(this.#origin).slice(0, 16)}.json`);
  }

  /**
   * Reads the stored session.
   * @param now the current time in Unix seconds
   * @returns the session, or undefined if no session is stored or it has expired
   * @throws MeshpassError `config_invalid` if the file is damaged or can be read by other users
   */
  read(now = Date.now() / 1000): OperatorSession | undefined {
    const stored = this.#stored();
    if (!stored || stored.expiresAt <= now) return undefined;
    const { operator: _, key, ...session } = stored;
    try {
      return { ...session, key: dpopKey(createPrivateKey(key)) };
    } catch (cause) {
      throw this.#damaged(cause);
    }
  }

  /**
   * Reads the refresh token in order to revoke it. This works even if the session has expired or if other users can
   * read the file. In that case, revoking the token is especially important, because they may have copied it.
   */
  readRefresh(): StoredRefreshToken | undefined {
    return this.#stored(0)?.refresh;
  }

  /** Stores a session, replacing the previous one. */
  write({ key, ...session }: Omit<OperatorSession, 'key'> & { readonly key: KeyObject }): void {
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    this.#write({ ...session, operator: this.#origin, key: pem });
  }

  /**
   * Updates the stored session, unless it has been replaced by a session with a different key. The caller must hold the
   * lock.
   */
  change(
    { key }: Pick<OperatorSession, 'key'>,
    change: Partial<Pick<OperatorSession, 'token' | 'expiresAt' | 'confirmUntil' | 'refresh'>>,
  ): void {
    const stored = this.#stored();
    if (stored && dpopKey(createPrivateKey(stored.key)).jwk.x === key.jwk.x) this.#write({ ...stored, ...change });
  }

  /** Deletes the stored session. */
  remove(): void {
    rmSync(this.#path, { force: true });
  }

  /**
   * Runs `work` while no other command can change the file. The lock is needed because most issuers accept a refresh
   * token only once.
   * @throws MeshpassError `config_invalid` if another command holds the lock for too long. Errors thrown by `work` are
   *   passed on
   */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.#writing(() => this.#prepareFolder());
    return await withLockFile(`${this.#path}.lock`, LOCK_MS, work);
  }

  /**
   * Reads and validates the file.
   * @param forbidden the file mode bits that must not be set
   */
  #stored(forbidden = 0o077): Stored | undefined {
    let text: string;
    try {
      if ((statSync(this.#path).mode & forbidden) !== 0)
        throw new MeshpassError(
          'config_invalid',
          `${this.#path} contains a key, and other users can read it. Run chmod 600 on it, or run meshpass login again.`,
        );
      text = readFileSync(this.#path, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw cause instanceof MeshpassError
        ? cause
        : unreadableFileError(this.#path, cause, undefined, 'config_invalid');
    }
    try {
      return Stored.parse(JSON.parse(text));
    } catch (cause) {
      throw this.#damaged(cause);
    }
  }

  #write(stored: Stored): void {
    const draft = `${this.#path}.${process.pid}.new`;
    this.#writing(() => {
      this.#prepareFolder();
      writeFileSync(draft, JSON.stringify(stored), { mode: 0o600 });
      renameSync(draft, this.#path);
    });
  }

  #prepareFolder(): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    chmodSync(this.#folder, 0o700);
  }

  #writing(work: () => void): void {
    try {
      work();
    } catch (cause) {
      throw new MeshpassError('config_invalid', `Cannot write ${this.#path}: ${describeFileError(cause)}.`, { cause });
    }
  }

  #damaged(cause: unknown): MeshpassError {
    return new MeshpassError('config_invalid', `${this.#path} is corrupted. Run meshpass login again.`, { cause });
  }
}
