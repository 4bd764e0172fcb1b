#!/usr/bin/env node
/** The `meshpass` command. Each subcommand is loaded only when it is called: `meshpass up` must start in no time. */
import { enableCompileCache } from 'node:module';

enableCompileCache();
const { run } = await import('./program.ts');
process.exitCode = await run(process.argv);
