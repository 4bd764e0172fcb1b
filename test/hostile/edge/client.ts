/** The honest way through edge and gateway, every part of which can be spoiled. */
import { readFileSync } from 'node:fs';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { MeshpassOptions } from '@meshpass/lab/meshpass';
import { type OrderedProcess, startOrdered } from '@meshpass/lab/ordered-process';
import { completed, type DataPath, enrolled, idTokenProof, ORDERS, openDataPath } from '../../mesh.ts';
import type { Outcome } from '../area.ts';
import { type Credential, fromIstiod } from './certificates.ts';
import { clientHello } from './client-hello.ts';
import type { EdgeOrder, EdgeReport } from './client-main.ts';

export interface Internet {
  readonly dataPath: DataPath;
  readonly adversary: AdversarialClient;
  readonly client: OrderedProcess<EdgeOrder>;
  /** Credentials of alice's live session. */
  readonly alice: Credential;
  readonly spiffeId: string;
  /** Credentials of another grant. */
  readonly bob: Credential;
  /** Credentials of a workload of the mesh. */
  readonly workload: Credential;
  /** ClientHello for ORDERS. */
  readonly hello: Buffer;
}

export interface Try extends Omit<Partial<EdgeOrder>, 'head' | 'inner' | 'credential'> {
  /** null: none. Default: alice's. */
  readonly credential?: Credential | null;
  /** latin1. Default: a CONNECT to `target`. */
  readonly head?: string;
  /** Default: ORDERS. */
  readonly target?: string;
  /** Default: a ClientHello for `target`. */
  readonly inner?: Buffer;
}

export const GRANT = 'payments-dev';
export const ORDERS_SNI = 'outbound_.8080_._.orders.shop.svc.cluster.local';

/** Requests like an agent's. */
export function connectHead(target: string): string {
  return `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`;
}

/** Sends all of it, regardless of errors. */
export async function spoken(internet: Internet, order: Try): Promise<EdgeReport> {
  const { credential = internet.alice, target = ORDERS, head = connectHead(target), inner, ...more } = order;
  const [host, port] = target.split(':');
  const hello = inner ?? (target === ORDERS ? internet.hello : await clientHello(`outbound_.${port}_._.${host}`));
  return internet.client.order<EdgeReport>({
    edge: internet.dataPath.meshpass.edge,
    ...more,
    ...(credential && { credential }),
    head: Buffer.from(head, 'latin1').toString('base64'),
    inner: hello.toString('base64'),
  });
}

/** Result: accepted if the workload answered. */
export async function said(internet: Internet, order: Try): Promise<Outcome> {
  const { answer, ended, tls } = await spoken(internet, order);
  const bytes = Buffer.from(answer, 'base64');
  const text = bytes.toString('latin1');
  if (tls !== undefined) return { accepted: false, answer: `TLS: ${tls}` };
  if (!ended) return { accepted: true, answer: `still open after ${JSON.stringify(text.slice(0, 100))}` };
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
  if (status === undefined) return { accepted: false, answer: text === '' ? 'closed' : `${bytes.length} bytes` };
  if (status !== '200') return { accepted: false, answer: `${status} ${/"error_code":"(\w+)"/.exec(text)?.[1]}` };
  const inner = bytes.subarray(text.indexOf('\r\n\r\n') + 4);
  if (inner.length === 0) return { accepted: false, answer: 'closed' };
  const isAlert = inner[0] === 21;
  return { accepted: !isAlert, answer: isAlert ? `alert ${inner[6]}` : `${inner.length} bytes of the workload` };
}

/** A Meshpass of its own on the lab, and clients of two sessions. */
export async function openInternet(options?: MeshpassOptions): Promise<Internet> {
  const dataPath = await openDataPath(options);
  const adversary = dataPath.adversary();
  await enrolled(dataPath, adversary);
  const other = adversary.as('bob');
  const token = dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' }));
  await completed(dataPath, other, await other.enrol(idTokenProof(token)), 'sre-bulk');
  const { spiffeId } = (await adversary.show()).svids[GRANT]!;
  return {
    dataPath,
    adversary,
    spiffeId,
    client: startOrdered(dataPath.lab, 'workspace', new URL('./client-main.ts', import.meta.url), 'the client'),
    alice: await svidOf(adversary),
    bob: await svidOf(other, 'sre-bulk'),
    workload: await fromIstiod(dataPath, 'spiffe://cluster.local/ns/shop/sa/client'),
    hello: await clientHello(ORDERS_SNI),
  };
}

/** A session of its own, under this name of the adversarial client. */
export async function sessionNamed({ dataPath, adversary }: Internet, name: string): Promise<Credential> {
  const one = adversary.as(name);
  await enrolled(dataPath, one);
  return svidOf(one);
}

export async function goodbye({ adversary }: Internet, name: string): Promise<void> {
  const { status } = await adversary.as(name).speak('DELETE', '/session');
  if (status !== 204) throw new Error(`the session did not end: ${status}`);
}

export async function svidOf(adversary: AdversarialClient, grant = GRANT): Promise<Credential> {
  const { privateKey: key, chain } = (await adversary.show()).svids[grant]!;
  return { key, chain };
}

export function ofTheEdge({ lab }: DataPath): Credential {
  const file = (ending: string) => readFileSync(`${lab.dir}/tls/edge.meshpass.test.${ending}`, 'utf8');
  return { key: file('key'), chain: file('crt') };
}
