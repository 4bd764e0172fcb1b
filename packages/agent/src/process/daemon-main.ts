/** The entry point of the agent process under Node.js. A single executable has its own entry point. */
import { runDaemon } from './daemon.ts';

void runDaemon(process.argv[2] ?? '');
