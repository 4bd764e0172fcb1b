#!/usr/bin/env node
/** The `meshpass` command. Each subcommand is loaded only when it is called: `meshpass up` must start in no time. */
import * as nodeModule from 'node:module';

/** As in `engines` of package.json. Below it, the first import of ours would die with a stack trace. */
const NODE_MAJOR = 24;

// Without `await` here: the single executable runs this as CommonJS.
if (Number.parseInt(process.version.slice(1), 10) < NODE_MAJOR) {
  console.error(
    `meshpass needs Node.js ${NODE_MAJOR} or later; ${process.execPath} is ${process.version}. Install a newer one, or put it first in PATH.`,
  );
  process.exitCode = 2;
} else {
  void runCommand();
}

async function runCommand(): Promise<void> {
  nodeModule.enableCompileCache();
  // Whoever reads the output may have seen enough: `meshpass audit tail | head`.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const { run } = await import('./program.ts');
  process.exitCode = await run(process.argv);
}
