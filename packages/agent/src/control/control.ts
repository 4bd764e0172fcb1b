/** How the commands reach the running agent: a Unix socket that only its owner can open; one JSON line each way. */
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { isErrorCode, MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { VERSION } from '@meshpass/identity/version';
import { type ApprovalsCommand, isApprovalsCommand } from '../approvals/command.ts';
import type { AskedCall } from '../explain/answer.ts';
import type { SignInRequest } from '../sign-in/commands.ts';
import { ownDirectory } from './own-files.ts';

export type ControlRequest =
  | { readonly command: 'status' | 'down' }
  /** `container`: for a program in a container on a bridge. */
  | { readonly command: 'env'; readonly container?: boolean }
  | { readonly command: 'token'; readonly audience: string }
  | SignInRequest
  /** A token for the API server of Kubernetes, under the first grant that has roles where none is named. */
  | { readonly command: 'kubernetes'; readonly grant?: string }
  | { readonly command: 'explain'; readonly call: AskedCall }
  | { readonly command: 'approvals'; readonly approvals: ApprovalsCommand };

const MAX_LINE = 65_536;

/** `MESHPASS_RUNTIME_DIR`, `$XDG_RUNTIME_DIR/meshpass` or `~/.meshpass`. */
export function runtimeDirectory(env: Readonly<Record<string, string | undefined>>): string {
  if (env.MESHPASS_RUNTIME_DIR) return env.MESHPASS_RUNTIME_DIR;
  return env.XDG_RUNTIME_DIR ? join(env.XDG_RUNTIME_DIR, 'meshpass') : join(env.HOME || homedir(), '.meshpass');
}

export function controlPath(directory: string): string {
  return join(directory, 'agent.sock');
}

/**
 * Claims the socket; a dead agent's one is replaced.
 * @throws MeshpassError agent_already_running, config_invalid
 */
export async function serveControl(
  directory: string,
  answer: (request: ControlRequest) => Promise<unknown>,
): Promise<{ close(): void }> {
  ownDirectory(directory);
  const path = controlPath(directory);
  if (await answers(path)) {
    throw new MeshpassError(
      'agent_already_running',
      'The agent is running already; meshpass status shows it, meshpass down ends it.',
    );
  }
  rmSync(path, { force: true });
  const server: Server = createServer((socket) => {
    let line = '';
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      line += chunk.toString('utf8');
      if (line.length > MAX_LINE) socket.destroy();
      if (!line.includes('\n')) return;
      socket.removeAllListeners('data');
      reply(line, answer).then((text) => socket.end(`${text}\n`));
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
  chmodSync(path, 0o600);
  server.unref();
  return {
    close: () => {
      server.close();
      rmSync(path, { force: true });
    },
  };
}

/** Asks the running agent. @throws MeshpassError agent_not_running, or what the agent answers */
export function askAgent<T>(directory: string, request: ControlRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const socket = connect(controlPath(directory));
    let text = '';
    socket.setTimeout(30_000, () => socket.destroy(new Error('timeout')));
    socket.on('error', (cause) =>
      reject(
        new MeshpassError('agent_not_running', `No agent is running in ${directory}; meshpass up starts it.`, {
          cause,
        }),
      ),
    );
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on('data', (chunk) => {
      text += chunk.toString('utf8');
    });
    socket.on('end', () => {
      try {
        const { result, error } = JSON.parse(text);
        if (error && isErrorCode(error.code)) reject(new MeshpassError(error.code, String(error.message)));
        else resolve(result as T);
      } catch (cause) {
        reject(new MeshpassError('agent_not_running', 'The agent ended while it answered.', { cause }));
      }
    });
  });
}

async function reply(line: string, answer: (request: ControlRequest) => Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify({ result: await answer(parse(line)) });
  } catch (thrown) {
    const { code, message } = toMeshpassError(thrown);
    return JSON.stringify({ error: { code, message } });
  }
}

function parse(line: string): ControlRequest {
  const request = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const { command, audience, call, grant, approvals, issuer } = request;
  if (command === 'status' || command === 'down' || command === 'sign-in-lacking') return { command };
  if (command === 'env') return { command, container: request.container === true };
  if (command === 'token' && typeof audience === 'string' && audience !== '') return { command, audience };
  if (command === 'kubernetes' && (grant === undefined || typeof grant === 'string'))
    return { command, ...(grant !== undefined && { grant }) };
  if (command === 'sign-in-result' && typeof issuer === 'string') return { command, issuer };
  if ((command === 'sign-in' || command === 'sign-out') && (issuer === undefined || typeof issuer === 'string'))
    return { command, ...(issuer !== undefined && { issuer }) };
  if (command === 'explain' && isCall(call)) return { command, call };
  if (command === 'approvals' && isApprovalsCommand(approvals)) return { command, approvals };
  throw new MeshpassError(
    'usage',
    `The agent of version ${VERSION} does not know this command: run meshpass down and up again.`,
  );
}

function isCall(call: unknown): call is AskedCall {
  const { host, port, method, path, headers } = (call ?? {}) as Record<string, unknown>;
  const texts = [host, method, path, ...Object.values(headers ?? {})];
  return texts.every((text) => typeof text === 'string') && typeof port === 'number' && typeof headers === 'object';
}

/** Whether an agent runs, also where it has no session yet. */
export function isAgentRunning(directory: string): Promise<boolean> {
  return answers(controlPath(directory));
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
