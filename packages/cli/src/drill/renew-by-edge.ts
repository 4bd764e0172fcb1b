/** Renews a lease over a control connection to an edge, just as the agent does. */
import { createSecureContext, type TLSSocket } from 'node:tls';
import { connectToEdge } from '@meshpass/agent/channel/connect';
import { createStatementVerifier, type StatementVerifier } from '@meshpass/agent/statements/statement-verifier';
import { createLeaseProof, EdgeFrame, formatFrame, MAX_STATEMENT_LENGTH } from '@meshpass/identity/channel/index';
import { parseJson } from '@meshpass/identity/jws/json';
import { createLineReader } from '@meshpass/identity/limits/lines';
import type { Verdict } from './attempt.ts';
import { type DrillSession, nextSeq } from './session.ts';
import type { TunnelCredentials } from './tunnel.ts';

const PATIENCE_MS = 5_000;
const MAX_LINE = MAX_STATEMENT_LENGTH + 256;
/** The error codes that prove that the session has ended. No other error code proves it. */
const OVER = new Set(['tunnel_session_unknown', 'session_closed', 'session_unknown']);

/**
 * Renews a session's lease over a control connection to the edge. Never throws. A refusal is returned as a verdict
 * instead.
 */
export async function renewViaEdge({
  ca,
  key,
  svids,
  mesh,
  session: { id: sid },
}: TunnelCredentials & Pick<DrillSession, 'key' | 'mesh' | 'session'>): Promise<Verdict> {
  const [svid] = svids.values();
  const context = createSecureContext({
    ...(ca !== undefined && { ca }),
    ...(svid && { key: svid.privateKey, cert: svid.chain }),
  });
  const received = createStatementVerifier({ sessionId: sid, keys: () => mesh.statement_keys });
  const seq = nextSeq();
  try {
    const socket = await connectToEdge(mesh.edge, context, AbortSignal.timeout(PATIENCE_MS));
    socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer')));
    received.sent(seq);
    socket.write(formatFrame({ type: 'lease', proof: createLeaseProof({ sid, seq, at: Date.now() }, key) }));
    return await firstVerdict(socket, received);
  } catch (thrown) {
    const { cause, message } = thrown as Error;
    return unclear((cause instanceof Error ? cause.message : message).slice(0, 200));
  }
}

async function firstVerdict(socket: TLSSocket, received: StatementVerifier): Promise<Verdict> {
  const lines = createLineReader(() => MAX_LINE);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    const verdicts: Verdict[] = [];
    if (!lines.push(chunk, (line) => verdicts.push(...verdictIn(line, received)))) return unclear('answer too long');
    if (verdicts[0]) return verdicts[0];
  }
  return unclear('closed without an answer');
}

function verdictIn(line: string, received: StatementVerifier): readonly Verdict[] {
  const frame = EdgeFrame.safeParse(parseJson(line)).data;
  if (frame?.type === 'refused')
    return [{ verdict: OVER.has(frame.error_code) ? 'refused' : 'unclear', how: frame.error_code }];
  if (frame?.type !== 'statement') return [];
  const belief = received.statement(frame.statement);
  switch (belief.type) {
    case 'lease':
      return [{ verdict: 'taken', how: 'renewed' }];
    case 'ended':
      return [{ verdict: 'refused', how: `ended: ${belief.ended.cause}` }];
    case 'forged':
    case 'unknown_key':
      return [unclear('a statement that the broker did not sign')];
    default:
      return [];
  }
}

function unclear(how: string): Verdict {
  return { verdict: 'unclear', how };
}
