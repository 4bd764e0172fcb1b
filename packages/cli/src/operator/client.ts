/** The broker as an operator calls it: with the operators' token, at its operator listener; or as a job calls it, at its public URL. */
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';

export interface OperatorOptions {
  /** The operator listener: `http://127.0.0.1:9090` through a port-forward. For a job's token: `https://broker.example.com`. */
  readonly operator: string;
  /** File whose only line is the token. */
  readonly operatorToken?: string;
  /** PEM of the broker's CA; absent: the system's. */
  readonly caFile?: string;
}

/** For scripts that have the token in a secret variable of their CI, and no file. */
const TOKEN_VARIABLE = 'MESHPASS_OPERATOR_TOKEN';
const PATIENCE_MS = 30_000;
const MAX_ANSWER = 64 * 1024 * 1024;

export type OperatorCall = (method: 'GET' | 'POST', path: string, body?: unknown) => Promise<unknown>;

/**
 * @param environment where the token is looked for when no file is named
 * @throws MeshpassError `usage` where there is no token or the URL is none; the call: what the broker answered, or
 *   `agent_broker_unreachable`
 */
export function operatorClient(options: OperatorOptions, environment: NodeJS.ProcessEnv): OperatorCall {
  const token = readToken(options.operatorToken, environment);
  const ca = options.caFile === undefined ? undefined : readText(options.caFile, '--ca-file');
  if (!/^https?:\/\/[^/]+\/?$/.test(options.operator) || !URL.canParse(options.operator))
    throw new MeshpassError(
      'usage',
      `--operator must be an origin such as http://127.0.0.1:9090, not ${options.operator}.`,
    );
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const url = new URL(path, options.operator);
      const text = body === undefined ? undefined : JSON.stringify(body);
      const headers = {
        authorization: `Bearer ${token}`,
        ...(text !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
      };
      const failed = (cause: unknown) =>
        reject(
          new MeshpassError('agent_broker_unreachable', `The broker does not answer at ${url.origin}.`, { cause }),
        );
      const sent = (url.protocol === 'https:' ? httpsRequest : httpRequest)(
        url,
        { method, headers, agent: false, timeout: PATIENCE_MS, ...(ca !== undefined && { ca }) },
        (response) => {
          const chunks: Buffer[] = [];
          let size = 0;
          response.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > MAX_ANSWER) sent.destroy(new Error('the answer is too large'));
            else chunks.push(chunk);
          });
          response.on('error', failed);
          response.on('end', () => {
            try {
              resolve(read(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8')));
            } catch (thrown) {
              reject(thrown);
            }
          });
        },
      );
      sent.on('timeout', () => sent.destroy(new Error(`no answer in ${PATIENCE_MS / 1000} s`)));
      sent.on('error', failed);
      sent.end(text);
    });
}

function read(status: number, text: string): unknown {
  let json: { error_code?: unknown; error_description?: unknown } | undefined;
  try {
    json = JSON.parse(text) as typeof json;
  } catch {
    json = undefined;
  }
  if (status === 200 && json !== undefined) return json;
  if (isErrorCode(json?.error_code)) throw new MeshpassError(json.error_code, String(json.error_description));
  throw new MeshpassError('agent_broker_unreachable', `What answers is no broker: ${status}.`);
}

function readToken(file: string | undefined, environment: NodeJS.ProcessEnv): string {
  const token = (file === undefined ? environment[TOKEN_VARIABLE] : readText(file, '--operator-token'))?.trim();
  if (token && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new MeshpassError(
    'usage',
    `Name the file with the operator's token: --operator-token, or set ${TOKEN_VARIABLE}.`,
  );
}

function readText(file: string, flag: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MeshpassError('usage', `The file of ${flag} cannot be read.`, { cause });
  }
}
