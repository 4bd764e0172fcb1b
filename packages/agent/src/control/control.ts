/**
 * The control socket of a running agent. It is a Unix socket that only its owner can open, and it carries a single line
 * of JSON in each direction.
 */
import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { isErrorCode, MeshpassError, toMeshpassError, VERSION } from '@meshpass/identity';
import type { ControlRequest } from '../control-request.ts';
import { createPrivateDirectory } from './own-files.ts';

const MAX_LINE = 65_536;

/** Returns the agent's runtime directory: `MESHPASS_RUNTIME_DIR`, `$XDG_RUNTIME_DIR/meshpass` or `~/.meshpass`. */
export function runtimeDirectory(env: Readonly<Record<string, string | undefined>>): string {
  if (env.MESHPASS_RUNTIME_DIR) return env.MESHPASS_RUNTIME_DIR;
  return env.XDG_RUNTIME_DIR ? join(env.XDG_RUNTIME_DIR, 'meshpass') : join(env.HOME || homedir(), '.meshpass');
}

/** Returns the path of the control socket in a runtime directory. */
export function controlPath(directory: string): string {
  return join(directory, 'agent.sock');
}

/**
 * Opens the control socket. If an agent that is no longer running has left its socket behind, it is replaced.
 * @throws MeshpassError agent_already_running, config_invalid
 */
export async function serveControl(
  directory: string,
  answer: (request: ControlRequest) => Promise<unknown>,
): Promise<{ close(): void }> {
  createPrivateDirectory(directory);
  const path = controlPath(directory);
  if (await isAgentRunning(directory)) {
    throw new MeshpassError(
      'agent_already_running',
      'The agent is already running. Run meshpass status to inspect it, or meshpass down to stop it.',
    );
  }
  rmSync(path, { force: true });
  const server = createServer((socket) => {
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
  await once(server.listen(path), 'listening');
  chmodSync(path, 0o600);
  server.unref();
  return {
    close: () => {
      server.close();
      rmSync(path, { force: true });
    },
  };
}

/**
 * Sends a request to the running agent and returns its response.
 * @throws MeshpassError agent_not_running, or the error that the agent returned
 */
export function sendControlRequest<T>(directory: string, request: ControlRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const socket = connect(controlPath(directory));
    let text = '';
    socket.setTimeout(30_000, () => socket.destroy(new Error('timeout')));
    socket.on('error', (cause) =>
      reject(
        new MeshpassError('agent_not_running', `No agent is running in ${directory}. Run meshpass up to start one.`, {
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
        reject(new MeshpassError('agent_not_running', 'The agent exited before it finished its response.', { cause }));
      }
    });
  });
}

async function reply(line: string, answer: (request: ControlRequest) => Promise<unknown>): Promise<string> {
  try {
    const { ControlRequest: schema } = await import('../control-request.ts');
    const request = schema.safeParse(JSON.parse(line));
    if (request.success) return JSON.stringify({ result: await answer(request.data) });
    throw new MeshpassError(
      'usage',
      `The running agent (version ${VERSION}) does not support this command. Run meshpass down, then meshpass up.`,
    );
  } catch (thrown) {
    const { code, message } = toMeshpassError(thrown);
    return JSON.stringify({ error: { code, message } });
  }
}

/** Returns whether an agent is running, even if it has no session. */
export async function isAgentRunning(directory: string): Promise<boolean> {
  const socket = connect(controlPath(directory));
  const isRunning = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return isRunning;
}
