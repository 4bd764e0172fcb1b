/** Runs one short command to its end. */
import { spawn } from 'node:child_process';
import { LabError, type LabErrorCode } from './error.ts';

export interface RunResult {
  /** Exit code; 128 + signal number is not used: a command ended by a signal has code -1. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly input?: string;
}

/** Resolves for any exit code; rejects with `lab_unsupported` only if the command does not exist. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file, ...args] = argv;
  const child = spawn(file ?? '', args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.env && { env: options.env as NodeJS.ProcessEnv }),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  });
  return new Promise((resolve, reject) => {
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.on('error', (cause) =>
      reject(new LabError('lab_unsupported', `cannot run ${file}: ${cause.message}`, { cause })),
    );
    child.on('close', (code) =>
      resolve({ code: code ?? -1, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
    child.stdin.on('error', () => {}); // a command that does not read its input may close it early
    child.stdin.end(options.input ?? '');
  });
}

/** Like `run`, but an exit code other than 0 is an error with the command's own words. */
export async function must(argv: readonly string[], code: LabErrorCode, options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code === 0) return result.stdout;
  const said = (result.stderr || result.stdout).trim().split('\n').slice(-15).join('\n');
  throw new LabError(code, `${argv.slice(0, 4).join(' ')} failed (exit ${result.code}):\n${said}`);
}
