/** Fills the root file system of an image with programs of this machine and what they need to run. */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LabError } from '../../error.ts';
import { must } from '../../run.ts';

/** Directories of Debian's commands, independent of the caller's PATH. */
const COMMAND_FOLDERS = ['/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

const PASSWD = `root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
istio-proxy:x:1337:1337:istio-proxy:/home/istio-proxy:/bin/false
`;
const GROUP = `root:x:0:
nogroup:x:65534:
istio-proxy:x:1337:
`;
const CA_CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';

/** An empty root with users, name resolution, certificate authorities and a folder for temporary files. */
export function layBase(root: string): void {
  for (const folder of ['etc/ssl/certs', 'tmp', 'root', 'home/istio-proxy', 'proc', 'sys', 'dev', 'run'])
    mkdirSync(join(root, folder), { recursive: true });
  chmodSync(join(root, 'tmp'), 0o1777);
  writeFileSync(join(root, 'etc/passwd'), PASSWD);
  writeFileSync(join(root, 'etc/group'), GROUP);
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n');
  copyFileSync(realpathSync(CA_CERTIFICATES), join(root, CA_CERTIFICATES));
}

/** Path of a command of this machine, behind all links. @throws LabError `lab_install` where there is none */
export function commandPath(command: string): string {
  for (const folder of COMMAND_FOLDERS) {
    const path = join(folder, command);
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return realpathSync(path);
  }
  throw new LabError('lab_install', `There is no ${command} on this machine.`);
}

/**
 * Copies a program with its shared libraries.
 * @param program path on this machine
 * @param as path in the image
 */
export async function layProgram(root: string, program: string, as = program): Promise<void> {
  put(root, program, as);
  for (const library of await librariesOf(program)) put(root, library, library);
}

/** Copies a command with its shared libraries to /usr/bin, under the name that it is called by. */
export async function layCommand(root: string, command: string): Promise<void> {
  await layProgram(root, commandPath(command), join('/usr/bin', command));
}

/** Copies a folder with everything below it. */
export function layFolder(root: string, folder: string): void {
  cpSync(folder, join(root, folder), { recursive: true, dereference: true });
}

/** The shared objects of a folder (plugins) and what they in turn need. */
export async function layLibraries(root: string, files: readonly string[]): Promise<void> {
  for (const file of files) await layProgram(root, file);
}

/** Alias of a program. */
export function link(root: string, target: string, path: string): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  symlinkSync(dirname(target) === dirname(path) ? basename(target) : target, join(root, path));
}

function put(root: string, from: string, to: string): void {
  mkdirSync(join(root, dirname(to)), { recursive: true });
  cpSync(realpathSync(from), join(root, to), { force: true });
}

/** Libraries as the dynamic linker finds them: `NAME => PATH (ADDRESS)`, and the linker itself without an arrow. */
async function librariesOf(program: string): Promise<string[]> {
  const text = await must(['ldd', program], 'lab_install').catch((error: LabError) => {
    if (error.message.includes('not a dynamic executable')) return '';
    throw error;
  });
  return [...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path!);
}
