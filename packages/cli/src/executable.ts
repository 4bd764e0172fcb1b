/** Entry of the single executable: the `meshpass` command, and the agent's process that `meshpass up` starts from it. */
import { DAEMON_VERB } from '@meshpass/agent/process/daemon-verb';

if (process.argv[2] === DAEMON_VERB) {
  const { runDaemon } = await import('@meshpass/agent/process/daemon');
  await runDaemon(process.argv[3] ?? '');
} else {
  await import('./main.ts');
}
