/**
 * A load generator that costs little beside the measured parts: raw sockets, one request in flight on each, no HTTP
 * library. Prints one JSON line. Runs as a process of its own, inside a host of the lab.
 *
 *   node bench/data-path/load.ts requests HOST PORT PATH CONNECTIONS SECONDS [HEADER...]
 *   node bench/data-path/load.ts bulk     HOST PORT PATH CONNECTIONS SECONDS [HEADER...]
 */
import { createConnection } from 'node:net';

export interface RequestFigures {
  readonly requests: number;
  /** All that were answered, those of the warm-up too. */
  readonly answers: number;
  /** CPU time of this generator for all of them. */
  readonly cpuMicros: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly medianMicros: number;
  readonly p99Micros: number;
  /** Answers that were not 200. Any makes the figures worthless. */
  readonly failed: number;
}

export interface BulkFigures {
  readonly bytes: number;
  readonly seconds: number;
  readonly megabytesPerSecond: number;
  readonly cpuMicros: number;
  readonly failed: number;
}

const WARM_UP_SECONDS = 1;

interface Aim {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly connections: number;
  readonly seconds: number;
  readonly headers: readonly string[];
}

if (import.meta.main) {
  const [mode, host, port, path, connections, seconds, ...headers] = process.argv.slice(2);
  const aim = {
    host: host!,
    port: Number(port),
    path: path!,
    connections: Number(connections),
    seconds: Number(seconds),
    headers,
  };
  console.log(JSON.stringify(mode === 'bulk' ? await bulk(aim) : await requests(aim)));
  process.exit(0);
}

/** Keeps one request in flight on each connection and counts the answers after a warm-up. */
async function requests(aim: Aim): Promise<RequestFigures> {
  const micros: number[] = [];
  let failed = 0;
  let answers = 0;
  const idle = process.cpuUsage();
  const begin = performance.now() + WARM_UP_SECONDS * 1000;
  const end = begin + aim.seconds * 1000;
  const request = requestBytes(aim);

  const connection = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = createConnection({ host: aim.host, port: aim.port, noDelay: true });
      let pending: Buffer = Buffer.alloc(0);
      let sentAt = 0;
      const send = () => {
        sentAt = performance.now();
        socket.write(request);
      };
      socket.on('connect', send);
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the server closed a connection under load')));
      socket.on('data', (chunk: Buffer) => {
        pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
        const answer = measure(pending);
        if (!answer || pending.length < answer.length) return;
        pending = pending.subarray(answer.length);
        const now = performance.now();
        answers++;
        if (sentAt >= begin) {
          micros.push((now - sentAt) * 1000);
          if (answer.status !== 200) failed++;
        }
        if (now < end) return send();
        socket.removeAllListeners('close');
        socket.destroy();
        resolve();
      });
    });

  await Promise.all(Array.from({ length: aim.connections }, connection));
  micros.sort((a, b) => a - b);
  const at = (quantile: number) => Math.round(micros[Math.floor(micros.length * quantile)] ?? Number.NaN);
  return {
    requests: micros.length,
    answers,
    cpuMicros: cpuSince(idle),
    seconds: aim.seconds,
    perSecond: Math.round(micros.length / aim.seconds),
    medianMicros: at(0.5),
    p99Micros: at(0.99),
    failed,
  };
}

/** Downloads one body a connection and counts bytes until all are in. */
async function bulk(aim: Aim): Promise<BulkFigures> {
  const request = requestBytes(aim);
  let bytes = 0;
  let failed = 0;
  let begin = 0;
  const idle = process.cpuUsage();
  const download = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = createConnection({ host: aim.host, port: aim.port, noDelay: true });
      let left = -1;
      socket.on('connect', () => socket.write(request));
      socket.on('error', reject);
      socket.on('close', () => (left > 0 ? reject(new Error(`${left} bytes are missing`)) : resolve()));
      socket.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (left < 0) {
          const answer = measure(chunk);
          if (!answer) return reject(new Error('the head of the answer came in pieces'));
          if (answer.status !== 200) failed++;
          left = answer.length;
          begin ||= performance.now();
        }
        left -= chunk.length;
        if (left <= 0) socket.destroy();
      });
    });
  await Promise.all(Array.from({ length: aim.connections }, download));
  const seconds = (performance.now() - begin) / 1000;
  return { bytes, seconds, megabytesPerSecond: Math.round(bytes / seconds / 1e6), cpuMicros: cpuSince(idle), failed };
}

function cpuSince(idle: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(idle);
  return user + system;
}

function requestBytes(aim: Aim): Buffer {
  const head = [`GET ${aim.path} HTTP/1.1`, `Host: ${aim.host}:${aim.port}`, 'Accept: */*', ...aim.headers];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1');
}

/** Status and whole length of the answer at the start of `bytes`, once its head is complete. Content-Length only. */
function measure(bytes: Buffer): { readonly status: number; readonly length: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const head = bytes.toString('latin1', 0, headEnd).toLowerCase();
  const length = /\r\ncontent-length: *(\d+)/.exec(head);
  if (!length) throw new Error(`an answer without Content-Length: ${head.slice(0, 200)}`);
  return { status: Number(head.slice(9, 12)), length: headEnd + 4 + Number(length[1]) };
}
