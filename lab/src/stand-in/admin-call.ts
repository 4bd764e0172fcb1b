/** Calls a stand-in's lab-only admin API, with a lab's own certificate authority if it has one. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface AdminOptions {
  /** PEM of the authority that signed the stand-in's certificate. */
  readonly ca?: string;
  /** Connect here (`HOST:PORT`) while the URL keeps its name, for a client outside of the lab's name resolution. */
  readonly connect?: string;
}

export type AdminCall = <T>(method: string, path: string, body?: unknown) => Promise<T>;

/** @throws Error with the stand-in's own message when it refuses */
export function adminCall(base: string, options: AdminOptions = {}): AdminCall {
  return (method, path, body) => {
    const url = new URL(path, base);
    const secure = url.protocol === 'https:';
    const [host, port] = options.connect ? splitAddress(options.connect) : [url.hostname, url.port];
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const request = (secure ? httpsRequest : httpRequest)(
        {
          method,
          host,
          port: port || (secure ? 443 : 80),
          path: url.pathname + url.search,
          agent: false,
          headers: { host: url.host, ...(text ? { 'content-type': 'application/json' } : {}) },
          ...(secure ? { servername: url.hostname, ...(options.ca ? { ca: options.ca } : {}) } : {}),
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const answer = Buffer.concat(chunks).toString();
            const parsed = answer ? JSON.parse(answer) : undefined;
            if ((response.statusCode ?? 500) < 300) resolve(parsed);
            else reject(new Error(`${method} ${path}: ${response.statusCode} ${parsed?.message ?? answer}`));
          });
        },
      );
      request.on('error', reject);
      request.end(text);
    });
  };
}

function splitAddress(address: string): [string, string] {
  const colon = address.lastIndexOf(':');
  return [address.slice(0, colon), address.slice(colon + 1)];
}
