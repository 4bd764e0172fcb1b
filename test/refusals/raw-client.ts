/** A client of the edge that sends any given bytes. */
import type { Svid } from '@meshpass/lab/adversarial-client/holder';
import { expect } from 'vitest';
import { type DataPath, ORDERS } from '../mesh.ts';

export interface RawOrder {
  /** Whether to speak the outer TLS, with the session's SVID. */
  readonly tls?: boolean;
  readonly head?: string;
  /** Sent when the answer has come. */
  readonly after?: string;
  readonly patience?: number;
}

/** Sends raw bytes from the workspace to the edge. */
export async function sendRaw(
  dataPath: DataPath,
  { privateKey: key, chain }: Svid,
  order: RawOrder,
): Promise<{ answer: string; ended: boolean }> {
  const head = order.head ?? `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${ORDERS}\r\n\r\n`;
  const input = JSON.stringify({
    tls: true,
    patience: 4_000,
    ...order,
    head,
    key,
    chain,
    edge: dataPath.meshpass.edge,
  });
  const ran = await dataPath.lab.exec('workspace', ['node', '-e', RAW_CLIENT], { input });
  expect(ran.code, ran.stderr).toBe(0);
  return JSON.parse(ran.stdout);
}

const RAW_CLIENT = `
const order = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const at = { host: order.edge.host, port: order.edge.port };
const options = { ...at, servername: at.host, ALPNProtocols: ['http/1.1'], key: order.key, cert: order.chain };
const socket = order.tls ? require('tls').connect(options) : require('net').connect(at);
let answer = '';
const done = (ended) => { console.log(JSON.stringify({ answer, ended })); process.exit(0); };
socket.on(order.tls ? 'secureConnect' : 'connect', () => socket.write(Buffer.from(order.head, 'latin1')));
socket.on('data', (part) => {
  const first = answer === '';
  answer += part.toString('latin1');
  if (first && order.after) socket.write(order.after);
});
socket.on('error', () => {});
socket.on('close', () => done(true));
setTimeout(() => done(false), order.patience);
`;
