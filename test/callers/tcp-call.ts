/** A conversation over TCP, in lines. */
import { connect } from 'node:net';

export interface TcpCall {
  readonly do: 'tcp';
  readonly host: string;
  readonly port: number;
  /** Wait for the other side's first line before anything is sent. */
  readonly serverFirst?: boolean;
  /** Lines to send, without line ends. */
  readonly send: readonly string[];
  /** When to give up. Default: 5 s. */
  readonly timeoutMs?: number;
}

export interface TcpAnswer {
  readonly lines: readonly string[];
  /** `end`: the other side closed; `silence`: nothing more came in time. */
  readonly over: 'end' | 'silence' | 'error';
}

const TIMEOUT_MS = 5_000;

export function callTcp({ host, port, serverFirst, send, timeoutMs = TIMEOUT_MS }: TcpCall): Promise<TcpAnswer> {
  return new Promise((resolve) => {
    let text = '';
    let sent = false;
    const socket = connect(port, host);
    const finish = (over: TcpAnswer['over']): void => {
      socket.destroy();
      resolve({ lines: text.split('\r\n').filter((line) => line !== ''), over });
    };
    const timer = setTimeout(() => finish('silence'), timeoutMs);
    const sendAll = (): void => {
      if (!sent) socket.write(send.map((line) => `${line}\r\n`).join(''));
      sent = true;
    };
    socket.on('connect', () => serverFirst || sendAll());
    socket.on('data', (part) => {
      text += part.toString('latin1');
      if (text.includes('\r\n')) sendAll();
    });
    socket.on('error', () => finish('error'));
    socket.on('end', () => finish('end'));
    socket.on('close', () => clearTimeout(timer));
  });
}
