/** Nothing is asked of the store by a broker that does not know whether it is the active one. */
import { MeshpassError } from '@meshpass/identity';
import type { KyselyPlugin } from 'kysely';

/** @param isLeader whether this process is known, at this instant, to be the active broker */
export function queryOnlyAsLeader(isLeader: () => boolean): KyselyPlugin {
  return {
    transformQuery: ({ node }) => {
      if (isLeader()) return node;
      throw leadershipUnknown();
    },
    transformResult: async ({ result }) => result,
  };
}

/** Why a broker serves nobody while it cannot tell whether another has taken its place. */
export function leadershipUnknown(): MeshpassError {
  return new MeshpassError(
    'store_unavailable',
    'This broker cannot reach its store, or another one has taken over; try again.',
    { retryAfter: 2 },
  );
}

/** Why a broker ends. */
export function superseded(): MeshpassError {
  return new MeshpassError('store_unavailable', 'Another broker has taken over; this one exits, to be restarted.');
}
