/**
 * Maintains the agent's block in /etc/hosts, which is enclosed in markers. The file is written in place, because in a
 * container it is a bind mount: after a rename, the container would still see the old file. The markers also identify a
 * block that was left behind by a crash.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, ftruncateSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { MeshpassError } from '@meshpass/identity';

export interface HostsEntry {
  readonly address: string;
  readonly names: readonly string[];
}

const BEGIN = '# meshpass begin (written by meshpass up, removed by meshpass down)';
const END = '# meshpass end';
const NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+$/;
const ADDRESS = /^127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$/;
const STALE_LOCK = 5000;

/**
 * Removes the agent's block and the blank line before it.
 * @returns the rest of the text
 */
export function removeHostsBlock(text: string): string {
  let rest = text;
  for (let begin = rest.indexOf('# meshpass begin'); begin >= 0; begin = rest.indexOf('# meshpass begin')) {
    const end = rest.indexOf(END, begin);
    // If a crash has left a block without an end marker, only lines in the agent's own format belong to it.
    const after = end >= 0 ? rest.indexOf('\n', end) + 1 || rest.length : endOfOwnLines(rest, begin);
    rest = rest.slice(0, begin) + rest.slice(after);
  }
  return rest;
}

/**
 * Replaces the agent's block in the text of a hosts file.
 * @throws MeshpassError config_invalid if a name or an address is not allowed in the block
 */
export function replaceHostsBlock(text: string, entries: readonly HostsEntry[]): string {
  const base = removeHostsBlock(text);
  if (entries.length === 0) return base;
  const lines = entries.map(({ address, names }) => {
    if (!ADDRESS.test(address) || !names.every((name) => NAME.test(name) && name.length <= 253)) {
      throw new MeshpassError(
        'config_invalid',
        `The broker announced a name that is not valid in a hosts file: ${names[0]}`,
      );
    }
    return `${address} ${names.join(' ')}\n`;
  });
  const separator = base === '' || base.endsWith('\n') ? '' : '\n';
  return `${base}${separator}${BEGIN}\n${lines.join('')}${END}\n`;
}

/**
 * Writes the agent's block, or removes it if there are no entries. If the file is not writable and `options.sudo` is
 * set, passwordless sudo is used.
 * @throws MeshpassError agent_hosts_unwritable
 */
export function writeHostsBlock(
  path: string,
  entries: readonly HostsEntry[],
  options: { readonly sudo: boolean },
): void {
  const unlock = lock(`${path}.meshpass-lock`);
  try {
    const before = readFileSync(path, 'utf8');
    const after = replaceHostsBlock(before, entries);
    if (after === before) return;
    try {
      overwrite(path, after);
    } catch (cause) {
      if (!options.sudo || !overwriteWithSudo(path, after)) throw unwritable(path, cause);
    }
  } catch (error) {
    throw error instanceof MeshpassError ? error : unwritable(path, error);
  } finally {
    unlock();
  }
}

/**
 * Overwrites the file in place. Its length is only changed after the bytes have been written, so readers never see a
 * truncated file.
 */
function overwrite(path: string, text: string): void {
  const file = openSync(path, constants.O_RDWR);
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, at);
    ftruncateSync(file, bytes.length);
  } finally {
    closeSync(file);
  }
}

function overwriteWithSudo(path: string, text: string): boolean {
  try {
    execFileSync('sudo', ['-n', 'tee', '--', path], {
      input: text,
      stdio: ['pipe', 'ignore', 'ignore'],
      timeout: 5000,
    });
    return true;
  } catch {
    return false;
  }
}

/**
 * Locks the file against other agents. If the directory is not writable, the file is written without a lock, because no
 * other agent could create one either.
 */
function lock(path: string): () => void {
  for (let attempt = 0; attempt < 50; attempt++) {
    try {
      closeSync(openSync(path, 'wx', 0o600));
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return () => {};
      if (ageOf(path) > STALE_LOCK) rmSync(path, { force: true });
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
  return () => {};
}

function ageOf(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function endOfOwnLines(text: string, begin: number): number {
  let at = text.indexOf('\n', begin) + 1;
  if (at === 0) return text.length;
  while (at < text.length) {
    const end = text.indexOf('\n', at);
    const line = text.slice(at, end < 0 ? undefined : end);
    const [address = '', ...names] = line.split(' ');
    if (!ADDRESS.test(address) || address.startsWith('127.0.') || names.length === 0) break;
    if (end < 0) return text.length;
    at = end + 1;
  }
  return at;
}

function unwritable(path: string, cause: unknown): MeshpassError {
  return new MeshpassError(
    'agent_hosts_unwritable',
    `Cannot write ${path}, so services are not reachable by name. Use the proxy: eval "$(meshpass env)".`,
    { cause },
  );
}
