/** Errors of a store that does not respond, or that another broker may own by now. */
import { MeshpassError } from '@meshpass/identity';

/** Creates the error for requests that arrive while this broker may no longer be active. */
export function leadershipUnknownError(): MeshpassError {
  return new MeshpassError(
    'store_unavailable',
    'This broker cannot reach its store, or another broker has taken over; try again.',
    { retryAfter: 2 },
  );
}

/**
 * Returns the result of one or more queries, converting their errors.
 * @throws MeshpassError `store_unavailable` if one of them failed. A MeshpassError is thrown unchanged
 */
export async function queryStore<T>(queries: Promise<T>): Promise<T> {
  try {
    return await queries;
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('store_unavailable', 'The store is not responding.', { cause, retryAfter: 2 });
  }
}

/** Creates the error that a broker exits with after another broker has taken over. */
export function supersededError(): MeshpassError {
  return new MeshpassError(
    'store_unavailable',
    'Another broker has taken over. This broker exits so that it can be restarted.',
  );
}
