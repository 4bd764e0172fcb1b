#!/usr/bin/env node
/** Entry point of the `meshpass` command. It checks the Node.js version before importing anything else. */
import * as nodeModule from 'node:module';

/**
 * The minimum Node.js major version. Keep it in sync with `engines` in package.json. On older versions, importing the
 * command would fail with a stack trace.
 */
const NODE_MAJOR = 24;

// Do not use top-level `await`, because the single executable runs this file as a CommonJS module.
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
