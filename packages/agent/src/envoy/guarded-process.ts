/**
 * A process that ends with this one, however this one ends. A shell stands between the two: it holds the other end of a pipe, and
 * when that closes, because the agent was killed, it kills what it started. This works wherever there is a POSIX shell.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface GuardedProcess {
  /** Of the process itself, not of its guard; undefined until it runs. */
  readonly pid: number | undefined;
  /** Resolves when it has ended, with how: `exit 1`, `SIGKILL`. */
  readonly ended: Promise<string>;
  /** Ends it at once. */
  kill(): void;
}

/**
 * Its standard input is the pipe; it prints the process id, waits, and exits as the process did. A crash leaves no core file: it would
 * hold the keys that are in memory.
 */
const GUARD = `ulimit -c 0
exec 3<&0
"$@" </dev/null 3<&- & child=$!
echo "$child"
exec 2>/dev/null
(read -r _ <&3; kill -9 "$child") & watch=$!
exec 3<&-
wait "$child"; code=$?
kill "$watch"
exit "$code"`;

/**
 * @param line gets each line of its standard error
 * @param env all of its environment
 */
export function startGuarded(
  argv: readonly string[],
  line: (text: string) => void,
  env: Readonly<Record<string, string | undefined>> = {},
): GuardedProcess {
  const guard: ChildProcess = spawn('/bin/sh', ['-c', GUARD, 'sh', ...argv], { stdio: ['pipe', 'pipe', 'pipe'], env });
  let pid: number | undefined;
  createInterface({ input: guard.stdout! }).once('line', (text) => {
    pid = Number(text);
  });
  createInterface({ input: guard.stderr! }).on('line', line);
  guard.stdin!.on('error', () => {}); // it has ended: `ended` tells
  const ended = new Promise<string>((resolve) => {
    guard.once('error', (error) => resolve((error as NodeJS.ErrnoException).code ?? 'not started'));
    guard.once('exit', (code, signal) => {
      guard.stdin!.destroy();
      // The guard alone may have been killed.
      if (signal !== null && pid !== undefined) killQuietly(pid);
      resolve(signal ?? (code! > 128 ? `signal ${code! - 128}` : `exit ${code}`));
    });
  });
  return {
    get pid() {
      return pid;
    },
    ended,
    kill: () => guard.stdin!.destroy(),
  };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended, too.
  }
}
