/** What people type of a request for approval, checked before anybody is asked. */
import { MeshpassError } from '@meshpass/identity/error';

/** @param list the command that shows ids. @throws MeshpassError `usage` */
export function readRequestId(id: string, list = 'meshpass requests'): string {
  if (/^[0-9a-f]{24}$/.test(id)) return id;
  throw new MeshpassError('usage', `"${id}" is no id of a request: it has 24 characters, and ${list} shows it.`);
}

/** @throws MeshpassError `usage` */
export function readReason(reason: string): string {
  if (reason.trim() !== '') return reason;
  throw new MeshpassError('usage', '--reason is empty: say why.');
}
