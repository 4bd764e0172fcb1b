/** One request and its whole answer, whatever its status. */
import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: unknown;
}

export interface Question {
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** PEM; absent: Node's own roots. */
  readonly ca?: string | undefined;
}

const PATIENCE_MS = 20_000;
const MAX_ANSWER = 8 * 1024 * 1024;

/** @throws what the connection threw, or an Error where no whole answer came in 20 s */
export function ask(url: string, { method, headers, body, ca }: Question): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { method, headers: { ...headers }, ...(ca !== undefined && { ca }) };
    const request = url.startsWith('http://') ? requestPlain : requestTls;
    const sent = request(url, options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
        if (text.length > MAX_ANSWER) sent.destroy(new Error(`the answer of ${url} is too long`));
      });
      response.on('error', reject);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: jsonOf(text) });
      });
    });
    // Of the whole: who answers a byte now and then is never silent.
    const late = setTimeout(() => {
      reject(new Error(`no answer from ${url} in ${PATIENCE_MS / 1000} s`));
      sent.destroy();
    }, PATIENCE_MS);
    sent.on('close', () => clearTimeout(late));
    sent.on('error', reject);
    sent.end(body);
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
