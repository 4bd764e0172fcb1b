/** `fetch` for a POST to a server whose certificate has a root of the lab. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface PostInit {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>> | Headers;
  readonly body?: URLSearchParams | string;
}

/** @param ca PEM; absent: the roots of the machine */
export function fetchTrusting(ca: string | undefined, url: string, init: PostInit = {}): Promise<Response> {
  const send = url.startsWith('https:') ? httpsRequest : httpRequest;
  const headers = Object.fromEntries(new Headers(init.headers));
  return new Promise((resolve, reject) => {
    const options = { method: init.method ?? 'GET', headers, agent: false, timeout: 5_000, ...(ca && { ca }) };
    const outgoing = send(url, options, (incoming) => {
      incoming.resume();
      incoming.on('end', () => resolve(new Response(null, { status: incoming.statusCode ?? 500 })));
      incoming.on('error', reject);
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')));
    outgoing.on('error', reject);
    outgoing.end(init.body?.toString());
  });
}
