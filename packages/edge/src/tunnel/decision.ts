/** A decision about a tunnel, in the format of the broker's audit log. */
import type { EdgeDecision, ErrorCode } from '@meshpass/identity';
import type { Destination } from './connect.ts';

/** Facts known about a tunnel. Later stages add more. */
export interface TunnelFacts {
  /** The client's address and port. */
  readonly source: string;
  readonly sessionId: string | undefined;
  readonly spiffeId: string | undefined;
  readonly destination: Destination | undefined;
  readonly bytes: { readonly in: number; readonly out: number };
  /** Unix ms. */
  readonly openedAt: number;
}

/**
 * Builds a decision.
 * @param made the decision's outcome, with `at` in Unix ms
 */
export function decisionOf(
  { source, sessionId, spiffeId, destination, bytes, openedAt }: TunnelFacts,
  made: Pick<EdgeDecision, 'id' | 'at' | 'outcome' | 'reason'> & { readonly code: ErrorCode | undefined },
): EdgeDecision {
  const { code, ...decision } = made;
  return {
    ...decision,
    source,
    ...(code !== undefined && { code }),
    ...(sessionId !== undefined && { session_id: sessionId }),
    ...(spiffeId !== undefined && { spiffe_id: spiffeId }),
    ...(destination && { target: destination.target }),
    ...(destination?.bySni && { sni: destination.sni }),
    ...(made.outcome === 'ended' && { bytes_in: bytes.in, bytes_out: bytes.out, duration_ms: made.at - openedAt }),
  };
}
