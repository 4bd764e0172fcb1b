/** The operator listener of the broker, as far as the audit log goes: whole answers, and lines as they come. */
import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';

export interface AuditClientOptions {
  /** Origin of the operator listener, as a port-forward has it. */
  readonly operator: string;
  /** File whose only line is the token. */
  readonly operatorToken?: string;
}

export interface AuditClient {
  readonly json: (path: string, order?: unknown) => Promise<unknown>;
  readonly text: (path: string) => Promise<string>;
  /** @throws MeshpassError `agent_broker_unreachable` also where the answer breaks off */
  readonly lines: (path: string) => Promise<AsyncIterable<string>>;
}

/** For scripts that have the token in a secret variable, and no file. */
const TOKEN_VARIABLE = 'MESHPASS_OPERATOR_TOKEN';
/** Until the answer begins: a checkpoint is signed, or rows are pruned, before that. */
const PATIENCE_MS = 10 * 60_000;

/**
 * @param environment where the token is looked for when no file is named
 * @throws MeshpassError `usage`; the calls: what the broker answered, or `agent_broker_unreachable`
 */
export function auditClient(options: AuditClientOptions, environment: NodeJS.ProcessEnv): AuditClient {
  if (!/^https?:\/\/[^/]+\/?$/.test(options.operator) || !URL.canParse(options.operator))
    throw new MeshpassError('usage', `--operator must be an origin such as http://127.0.0.1:9090.`);
  const token = readToken(options.operatorToken, environment);
  const unreachable = (cause: unknown) =>
    new MeshpassError('agent_broker_unreachable', `The broker does not answer at ${options.operator}.`, { cause });

  const ask = async (path: string, order?: unknown): Promise<Response> => {
    const response = await fetch(new URL(path, options.operator), {
      method: order === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(PATIENCE_MS),
      ...(order !== undefined && { body: JSON.stringify(order) }),
    }).catch((cause: unknown) => {
      throw unreachable(cause);
    });
    if (response.ok) return response;
    const answer = (await response.json().catch(() => undefined)) as Record<string, unknown> | undefined;
    if (isErrorCode(answer?.error_code)) throw new MeshpassError(answer.error_code, String(answer.error_description));
    throw new MeshpassError('agent_broker_unreachable', `What answers is no broker: ${response.status}.`);
  };

  return {
    json: async (path, order) => await (await ask(path, order)).json(),
    text: async (path) => await (await ask(path)).text(),
    lines: async (path) => {
      const { body } = await ask(path);
      if (!body) throw unreachable('no body');
      return linesOf(Readable.fromWeb(body as ReadableStream), unreachable);
    },
  };
}

/** @throws MeshpassError `usage`, when it is read, where the file cannot be */
export function fileLines(file: string): AsyncIterable<string> {
  return linesOf(createReadStream(file), (cause) => new MeshpassError('usage', `${file} cannot be read.`, { cause }));
}

async function* linesOf(input: Readable, failure: (cause: unknown) => Error): AsyncGenerator<string> {
  let failed: unknown;
  const reader = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  input.on('error', (cause) => {
    failed = cause;
    reader.close();
  });
  yield* reader;
  if (failed !== undefined) throw failure(failed);
}

function readToken(file: string | undefined, environment: NodeJS.ProcessEnv): string {
  const token = (file === undefined ? environment[TOKEN_VARIABLE] : readText(file))?.trim();
  if (token && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new MeshpassError(
    'usage',
    `Name the file with the operator's token: --operator-token, or set ${TOKEN_VARIABLE}.`,
  );
}

/** @throws MeshpassError `usage` */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MeshpassError('usage', `${file} cannot be read.`, { cause });
  }
}
