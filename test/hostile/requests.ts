/** Requests to the broker's listeners that no HTTP client would send: header by header, or byte by byte. */
import { readFileSync } from 'node:fs';
import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Outcome } from './area.ts';

export interface Target {
  /** Address to dial. */
  readonly host: string;
  readonly port: number;
  /** Name that its certificate has, and PEM file of the CA; absent: plain HTTP. */
  readonly tls?: { readonly name: string; readonly caFile: string };
}

export interface RawRequest {
  readonly method: string;
  /** Target of the request line. */
  readonly path: string;
  /** Names and values in turn, as often as they are to be sent. */
  readonly headers: readonly string[];
  readonly body?: string | Buffer;
}

export interface Answered extends Outcome {
  readonly status: number;
  readonly text: string;
  /** Value of the header Location. */
  readonly location?: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests check an answer member by member
  readonly json: any;
}

const PATIENCE_MS = 20_000;

/** Counts an answer with 2xx as accepted. */
export function ask(target: Target, { method, path, headers, body }: RawRequest): Promise<Answered> {
  const { host, port, tls } = target;
  const secure = tls && { servername: tls.name, ca: readFileSync(tls.caFile) };
  const host_ = headers.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'host');
  const given = [...(host_ ? [] : ['Host', `${tls?.name ?? host}:${port}`]), ...headers];
  if (body !== undefined && !given.some((name) => /^(content-length|transfer-encoding)$/i.test(name)))
    given.push('Content-Length', String(Buffer.byteLength(body)));
  return new Promise((resolve) => {
    const failed = (error: Error) =>
      resolve({ accepted: false, status: 0, text: '', json: undefined, answer: error.message });
    const options = { host, port, method, path, headers: given, agent: false, timeout: PATIENCE_MS, ...secure };
    const sent = (tls ? tlsRequest : plainRequest)(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('error', failed);
      response.on('end', () =>
        resolve({ ...answered(response.statusCode ?? 0, text), location: response.headers.location }),
      );
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer')));
    sent.on('error', failed);
    sent.end(body);
  });
}

/** Sends exactly these bytes; any answer with 2xx counts as accepted. */
export function sendBytes({ host, port, tls }: Target, bytes: string | Buffer): Promise<Outcome> {
  return new Promise((resolve) => {
    const socket = tls
      ? connectTls({ host, port, servername: tls.name, ca: readFileSync(tls.caFile) })
      : connectPlain({ host, port });
    let text = '';
    const done = (how: string) => {
      const lines = text.match(/^HTTP\/1\.[01] \d{3}.*$/gm) ?? [];
      resolve({ accepted: lines.some((line) => / 2\d\d /.test(line)), answer: `${lines.join(', ')}; ${how}` });
      socket.destroy();
    };
    socket.setTimeout(PATIENCE_MS, () => done('no end'));
    socket.on('data', (part: Buffer) => (text += part.toString('latin1')));
    socket.on('error', (error) => done(error.message));
    socket.on('close', () => done('closed'));
    socket.write(bytes);
  });
}

function answered(status: number, text: string): Answered {
  let json: { error_code?: string } | undefined;
  try {
    json = JSON.parse(text) as typeof json;
  } catch {
    json = undefined;
  }
  return { accepted: status >= 200 && status < 300, status, text, json, answer: `${status} ${json?.error_code ?? ''}` };
}
