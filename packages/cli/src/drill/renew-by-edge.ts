/** Renews the lease of a session by a control connection of its edge, as its agent does, and says how that was answered. */
import { connect } from 'node:tls';
import {
  CONTROL_ALPN,
  createLeaseProof,
  createStatementReader,
  EdgeFrame,
  formatFrame,
  MAX_STATEMENT,
} from '@meshpass/identity/channel/index';
import type { MeshInfo } from '@meshpass/identity/wire';
import type { Verdict } from './attempt.ts';
import type { Credentials, Svid } from './credentials.ts';

const PATIENCE_MS = 5_000;
const MAX_LINE = MAX_STATEMENT + 256;
/** Refusals that say that the session is over; any other proves nothing. */
const OVER = new Set(['tunnel_session_unknown', 'session_closed', 'session_unknown']);
let last = 0;

/** Never throws: a refusal is a result. */
export function renewByEdge(credentials: Credentials, mesh: MeshInfo, sid: string): Promise<Verdict> {
  const [svid] = Object.values(credentials.svids) as [Svid | undefined];
  const { host, port } = mesh.edge;
  last = Math.max(last + 1, Date.now());
  const seq = last;
  return new Promise((resolve) => {
    const socket = connect({
      ...{ host, port, servername: host, ALPNProtocols: [CONTROL_ALPN], minVersion: 'TLSv1.3' },
      ...(credentials.ca !== undefined && { ca: credentials.ca }),
      ...(svid && { key: svid.key, cert: svid.chain }),
    });
    const done = (verdict: Verdict['verdict'], how: string) => {
      socket.destroy();
      resolve({ verdict, how });
    };
    const read = createStatementReader(mesh.statement_keys ?? []);
    let held = '';
    socket.setTimeout(PATIENCE_MS, () => done('unclear', 'no answer'));
    socket.on('error', (error) => done('unclear', error.message.slice(0, 200)));
    socket.once('close', () => done('unclear', 'closed without an answer'));
    socket.once('secureConnect', () => {
      if (socket.alpnProtocol !== CONTROL_ALPN) return done('unclear', 'this edge serves no control connections');
      socket.write(
        formatFrame({ type: 'lease', proof: createLeaseProof({ sid, seq, at: Date.now() }, credentials.dpop) }),
      );
    });
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      const lines = (held + chunk).split('\n');
      held = lines.pop()!;
      if (held.length > MAX_LINE) return done('unclear', 'too long an answer');
      for (const line of lines) take(frameOf(line));
    });

    function take(frame: EdgeFrame | undefined): void {
      if (frame?.type === 'refused') {
        done(OVER.has(frame.error_code) ? 'refused' : 'unclear', frame.error_code);
        return;
      }
      if (frame?.type !== 'statement') return;
      const statement = read(frame.statement);
      if (statement.state !== 'verified') {
        done('unclear', 'a statement that the broker did not sign');
        return;
      }
      const { statement: said } = statement;
      if (said.kind === 'ended' && said.sid === sid) done('refused', `ended: ${said.cause}`);
      if (said.kind === 'lease' && said.sid === sid && said.seq === seq) done('taken', 'renewed');
    }
  });
}

function frameOf(line: string): EdgeFrame | undefined {
  try {
    return EdgeFrame.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
