/**
 * Starts a child process that ends whenever this process ends, for whatever reason. A shell between the two reads from
 * a pipe. If the agent is killed, the pipe closes and the shell kills the child. This only requires a POSIX shell.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export type GuardedProcess = ReturnType<typeof startGuardedProcess>;

/**
 * The guard's shell script, whose standard input is the pipe. It prints the child's process ID, waits for the child,
 * and exits with the child's status. Core dumps are disabled because they would contain the keys that the child has in
 * memory.
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
 * Starts a process that ends when this process ends.
 * @param line called with each line that the process writes to standard error
 * @param env the complete environment of the process
 */
export function startGuardedProcess(
  argv: readonly string[],
  line: (text: string) => void,
  env: Readonly<Record<string, string | undefined>> = {},
) {
  const guard: ChildProcess = spawn('/bin/sh', ['-c', GUARD, 'sh', ...argv], { stdio: ['pipe', 'pipe', 'pipe'], env });
  let pid: number | undefined;
  const ended = new Promise<string>((resolve) => {
    guard.on('error', (error) => resolve(`not started: ${(error as NodeJS.ErrnoException).code ?? error.message}`));
    guard.once('exit', (code, signal) => {
      guard.stdin?.destroy();
      // Only the guard may have been killed, in which case the child is still running.
      if (signal !== null && pid !== undefined) killQuietly(pid);
      resolve(signal ?? (code! > 128 ? `signal ${code! - 128}` : `exit ${code}`));
    });
  });
  // If no file descriptors are left (EMFILE), the guard has no pipes.
  const { stdin, stdout, stderr } = guard;
  if (stdout)
    createInterface({ input: stdout }).once('line', (text) => {
      pid = Number(text);
    });
  if (stderr) createInterface({ input: stderr }).on('line', line);
  stdin?.on('error', () => {}); // the guard has ended, which `ended` reports
  return {
    /** The ID of the process itself, not of its guard. Undefined until the process is running. */
    get pid() {
      return pid;
    },
    /** Resolves once the process has ended, with the cause, such as `exit 1` or `SIGKILL`. */
    ended,
    /** Kills the process by closing the guard's pipe. */
    kill: () => void stdin?.destroy(),
  };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The process has already ended.
  }
}
