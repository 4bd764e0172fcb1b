/** Blocks queries from a broker that may no longer be active. */
import { MeshpassError } from '@meshpass/identity';
import type { KyselyPlugin } from 'kysely';

/**
 * Creates a plugin that rejects queries unless this broker is active.
 * @param isLeader whether this process is known to be the active broker at this instant
 */
export function createLeaderOnlyPlugin(isLeader: () => boolean): KyselyPlugin {
  return {
    transformQuery: ({ node }) => {
      if (isLeader()) return node;
      throw leadershipUnknownError();
    },
    transformResult: async ({ result }) => result,
  };
}

/** Builds the error for requests while leadership is uncertain. */
export function leadershipUnknownError(): MeshpassError {
  return new MeshpassError(
    'store_unavailable',
    'This broker cannot reach its store, or another broker has taken over; try again.',
    { retryAfter: 2 },
  );
}

/**
 * Returns the result of queries.
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

/** Builds the error that a superseded broker exits with. */
export function supersededError(): MeshpassError {
  return new MeshpassError(
    'store_unavailable',
    'Another broker has taken over. This broker exits so that it can be restarted.',
  );
}
