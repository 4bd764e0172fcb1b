import { statSync } from 'node:fs';
import { MeshpassError } from '@meshpass/identity/error';

/** Whether a mount is missing shows at the start, not when the first file in it is needed. @throws MeshpassError `config_invalid` */
export function requireDirectory(path: string, flag: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  throw new MeshpassError('config_invalid', `${flag}: ${path} is no directory.`);
}
