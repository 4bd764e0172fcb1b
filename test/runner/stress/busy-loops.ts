/** Processes that keep the processors busy. */
import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';

/** Ends when its parent has ended, even if that was killed. */
const LOOP = `
const parent = process.ppid;
while (process.ppid === parent) {
  const until = Date.now() + 250;
  while (Date.now() < until);
}`;

/** Starts busy loops. @param perProcessor loops for each processor @returns stops them */
export function startBusyLoops(perProcessor: number): () => void {
  const start = (): ChildProcess => spawn(process.execPath, ['-e', LOOP], { stdio: 'ignore' });
  const loops = Array.from({ length: perProcessor * availableParallelism() }, start);
  return () => {
    for (const loop of loops) loop.kill('SIGKILL');
  };
}
