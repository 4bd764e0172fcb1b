/** Ids of approval requests. */
import { MeshpassError } from '@meshpass/identity/error';

/**
 * Validates a request id.
 * @param list command that lists ids, for messages
 * @throws MeshpassError `usage`
 */
export function readRequestId(id: string, list = 'meshpass requests'): string {
  if (/^[0-9a-f]{24}$/.test(id)) return id;
  throw new MeshpassError('usage', `"${id}" is not a request ID (24 characters). Run ${list} to list the IDs.`);
}
