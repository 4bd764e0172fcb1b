/** Sends one HTTP/1.1 request on a separate connection. */
import { request as requestHttp } from 'node:http';

export interface HttpCall {
  readonly do: 'http';
  readonly url: string;
  /** Default: GET. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Default: 15 s. */
  readonly timeoutMs?: number;
}

export interface HttpAnswer {
  /** 0 without an answer; `error` has the reason. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Time from the call to the end of the answer. */
  readonly ms: number;
  readonly error?: string;
}

const TIMEOUT_MS = 15_000;

export function callHttp({
  url,
  method = 'GET',
  headers,
  body,
  timeoutMs = TIMEOUT_MS,
}: HttpCall): Promise<HttpAnswer> {
  const began = performance.now();
  return new Promise((resolve) => {
    const none = (error: Error): void =>
      resolve({ status: 0, headers: {}, body: '', ms: performance.now() - began, error: error.message });
    const signal = AbortSignal.timeout(timeoutMs);
    const call = requestHttp(url, { method, headers: { ...headers }, agent: false, signal }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => {
        text += part;
      });
      response.on('error', none);
      response.on('end', () => {
        const answered = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
        const ms = performance.now() - began;
        resolve({ status: response.statusCode ?? 0, headers: Object.fromEntries(answered), body: text, ms });
      });
    });
    call.on('error', none);
    call.end(body);
  });
}
