#!/usr/bin/env node
/** Entry point of the `meshpass` command. It checks the Node.js version before it imports anything else. */
import * as nodeModule from 'node:module';

/**
 * Minimum Node.js major version. Keep in sync with `engines` in package.json. On older versions, importing the command
 * would fail with a stack trace.
 */
const NODE_MAJOR = 24;

// Do not use top-level `await`: the single executable runs this file as CommonJS.
if (Number.parseInt(process.version.slice(1), 10) < NODE_MAJOR) {
  console.error(
    `meshpass requires Node.js ${NODE_MAJOR} or later, but ${process.execPath} is ${process.version}. Install a newer version, or put it first in PATH.`,
  );
  process.exitCode = 2;
} else {
  void runCommand();
}

async function runCommand(): Promise<void> {
  nodeModule.enableCompileCache();
  // The reader may close the pipe early, as in `meshpass audit tail | head`.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const { run } = await import('./program.ts');
  process.exitCode = await run(process.argv);
}
