/** One HTTPS request and its whole answer. */
import { request } from 'node:https';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: unknown;
}

/** @throws what the connection threw, or an Error after 20 s */
export function ask(
  url: string,
  options: { readonly method: string; readonly headers?: Record<string, string>; readonly body?: string },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method: options.method, headers: options.headers ?? {}, timeout: 20_000 },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => {
          text += part;
        });
        response.on('error', reject);
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: jsonOf(text) });
        });
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`no answer from ${url} in 20 s`)));
    sent.on('error', reject);
    sent.end(options.body);
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
