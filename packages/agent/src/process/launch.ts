/** Implements `meshpass up`, which starts the agent as a separate process and waits until it carries traffic. */
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { isErrorCode, MeshpassError } from '@meshpass/identity';
import type { AgentConfig } from '../control/config.ts';
import { createPrivateDirectory, openPrivateLog } from '../control/own-files.ts';
import type { AgentStatus } from '../control/status.ts';
import type { SignInPrompt } from '../sign-in/device-flow.ts';
import type { DaemonMessage } from './daemon.ts';
import { DAEMON_COMMAND } from './daemon-verb.ts';

export interface LaunchOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How long the agent may take to become ready, in milliseconds. */
  readonly timeout?: number;
  /**
   * Called with instructions if the user must sign in. In that case, the timeout does not start until the code expires.
   */
  readonly onPrompt?: (prompt: SignInPrompt) => void;
}

/**
 * Starts the agent process and waits until it is ready.
 * @throws MeshpassError config_invalid, the error that the agent reported, or agent_not_running if the process exits
 *   without reporting one
 */
export async function launchAgent(config: AgentConfig, options: LaunchOptions): Promise<AgentStatus> {
  createPrivateDirectory(config.runtimeDirectory);
  const logPath = join(config.runtimeDirectory, 'agent.log');
  const logFile = openPrivateLog(logPath, MAX_LOG);
  const child = spawn(process.execPath, [...entry(), JSON.stringify(config)], {
    detached: true,
    stdio: ['ignore', logFile, logFile, 'ipc'],
    env: {
      ...options.env,
      ...(isSea() && { NODE_OPTIONS: [options.env.NODE_OPTIONS, ...AGENT_NODE_OPTIONS].filter(Boolean).join(' ') }),
      NODE_COMPILE_CACHE: options.env.NODE_COMPILE_CACHE ?? compileCache(options.env),
      // All threads share a single malloc arena, because each additional arena would reserve half a megabyte.
      MALLOC_ARENA_MAX: options.env.MALLOC_ARENA_MAX ?? '1',
    },
  });
  closeSync(logFile);
  return new Promise((resolve, reject) => {
    const settle = (result: AgentStatus | MeshpassError) => {
      clearTimeout(timer);
      child.removeAllListeners();
      if (child.connected) child.disconnect();
      child.unref();
      if (result instanceof MeshpassError) reject(result);
      else resolve(result);
    };
    const patience = options.timeout ?? 60_000;
    const giveUp = () => {
      child.kill('SIGTERM');
      settle(
        new MeshpassError('agent_not_running', `The agent did not become ready in time. See its log, ${logPath}.`),
      );
    };
    let timer = setTimeout(giveUp, patience);
    child.on('message', (message: DaemonMessage) => {
      if ('prompt' in message) {
        clearTimeout(timer);
        timer = setTimeout(giveUp, message.prompt.expiresAt - Date.now() + patience);
        options.onPrompt?.(message.prompt);
      } else if ('ready' in message) settle(message.ready);
      else {
        const { code, message: text } = message.refused;
        settle(new MeshpassError(isErrorCode(code) ? code : 'internal', text));
      }
    });
    child.once('error', (cause) =>
      settle(new MeshpassError('agent_not_running', 'Cannot start the agent.', { cause })),
    );
    child.once('exit', () =>
      settle(new MeshpassError('agent_not_running', `The agent exited immediately. See its log, ${logPath}.`)),
    );
  });
}

/**
 * Returns the command line of the agent process, which is either this executable or a file next to this one. In the
 * repository, that file is written in TypeScript. In the published package, it is built from
 * deploy/npm/agent-process.ts.
 */
function entry(): readonly string[] {
  if (isSea()) return [DAEMON_COMMAND];
  const beside = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  // Node.js needs WebAssembly to load TypeScript, so --jitless cannot be used here.
  if (import.meta.url.endsWith('.ts')) return [YOUNG, '--no-opt', beside('./daemon-main.ts')];
  return [...AGENT_NODE_OPTIONS, beside('./daemon-main.cjs')];
}

const MAX_LOG = 1_048_576;

const YOUNG = '--max-semi-space-size=1';

/**
 * Node.js options that reduce memory usage: a small young generation and no JIT compiler, because the agent does little
 * computation. Without a compiler, validating the configuration of 500 services takes half a second. The simplest
 * compiler would be ten times as fast, but costs 6 MB. A single executable receives these options in `NODE_OPTIONS`,
 * because its command line belongs to the program.
 */
export const AGENT_NODE_OPTIONS = [YOUNG, '--jitless'] as const;

/** Returns the directory of the compile cache for the agent's code. The cache halves the time to the first call. */
function compileCache(env: Readonly<Record<string, string | undefined>>): string {
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'meshpass', 'compile');
}
