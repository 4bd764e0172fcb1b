/** Entry of the agent's process where Node.js runs files; a single executable begins with its own entry. */
import { runDaemon } from './daemon.ts';

void runDaemon(process.argv[2] ?? '');
