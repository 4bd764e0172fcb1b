/** Who may act as an operator: whoever has the token that the broker was started with, and does not try them out. */
import { MeshpassError } from '@meshpass/identity';
import { granted, type Outcome, refused } from '../audit/log/decision.ts';
import { createRateAllowance } from '../limits/rate-allowance.ts';
import { groupOf, type SourceOf } from '../limits/source-address.ts';
import { equalInConstantTime } from '../secrets/constant-time.ts';
import type { Connections } from './connections.ts';
import type { Presented } from './route.ts';

export interface OperatorsOptions {
  /** Undefined where the broker was started without one: then nobody is an operator. */
  readonly token: string | undefined;
  readonly sourceOf: SourceOf;
  /** Unix ms. */
  readonly clock: () => number;
  /** Of the listener that operators use. */
  readonly connections: Pick<Connections, 'belongs'>;
}

export interface Operators {
  /** Refuses with `operator_unauthorized`; `too_many_attempts` after wrong tokens from the same source, whatever comes then. */
  readonly authentication: (presented: Presented) => Outcome<void>;
}

/** Wrong tokens of a source that are compared at once, and a second after that. */
const ATTEMPTS = { burst: 10, perSecond: 0.1 };

export function createOperators({ token, sourceOf, clock, connections }: OperatorsOptions): Operators {
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  return {
    authentication: ({ request, event }) => {
      const source = groupOf(sourceOf(request));
      if (!attempts.has(source))
        return refused(
          event,
          new MeshpassError('too_many_attempts', 'Too many wrong tokens from this address; wait.', {
            retryAfter: 1 / ATTEMPTS.perSecond,
          }),
        );
      const given = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
      if (token === undefined || !equalInConstantTime(given, token)) {
        attempts.take(source);
        return refused(event, new MeshpassError('operator_unauthorized', 'The token of an operator is required.'));
      }
      connections.belongs(request.socket);
      return granted({ ...event, known: true }, undefined);
    },
  };
}
