// Prints what Vitest's JSON reports hold: minutes by suite, what was skipped, what failed, and last the totals of all of them, alone on
// a line. A skip that is not listed here counts as a failure, because no one else runs what CI does not run. Exits with 2 if there is one.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** Titles of tests that may be skipped, by file, each with the reason. */
const MAY_BE_SKIPPED = {
  'packages/broker/test/store/store.test.ts': {
    'the store on pglite is not opened if the file of the lock cannot be written': 'root can write to every file',
  },
  'test/chart/upgrade.cluster.test.ts': {
    'needs the commit of the version before in this clone': 'a shallow clone lacks it',
  },
};

/** Enough to see why it failed; the whole is above, in the output of its project. */
const LINES_OF_A_FAILURE = 40;

/** Reason for which every test of a file may be skipped. */
function reasonOfFile(file) {
  const mayBe = file.endsWith('.ambient.test.ts') && !process.env.MESHPASS_ZTUNNEL;
  return mayBe ? 'MESHPASS_ZTUNNEL names no ztunnel' : undefined;
}

const reports = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')));
const minutes = new Map();
const skipped = [];
const failed = [];
for (const { testResults } of reports) {
  for (const { name, startTime, endTime, assertionResults } of testResults) {
    const file = relative(process.cwd(), name);
    const suite = file.split('/').slice(0, 2).join('/');
    minutes.set(suite, (minutes.get(suite) ?? 0) + (endTime - startTime) / 60_000);
    for (const { status, fullName, failureMessages } of assertionResults) {
      if (status === 'failed') failed.push({ file, fullName, message: failureMessages?.join('\n') ?? '' });
      if (status === 'passed' || status === 'failed') continue;
      skipped.push({ file, fullName, reason: MAY_BE_SKIPPED[file]?.[fullName] ?? reasonOfFile(file) });
    }
  }
}
console.log('Minutes by suite, of tests that run side by side:');
for (const [suite, taken] of [...minutes].sort(([, a], [, b]) => b - a)) {
  console.log(`${taken.toFixed(1).padStart(7)}  ${suite}`);
}
for (const { file, fullName, reason } of skipped) {
  console.log(`skipped: ${file}: ${fullName}: ${reason ?? 'FAILED, because it is not listed in .ci/totals.mjs'}`);
}
for (const { file, fullName, message } of failed) {
  console.log(`failed: ${file}: ${fullName}`);
  console.log(message.split('\n').slice(0, LINES_OF_A_FAILURE).join('\n').replaceAll(/^/gm, '    '));
}
if (skipped.length > 0) console.log(`${skipped.length} skipped`);
const unlisted = skipped.filter(({ reason }) => reason === undefined).length;
/** A file that does not load, or whose set-up fails, has no failed test. */
const unloaded = reports
  .flatMap(({ testResults }) => testResults)
  .filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((one) => one.status === 'failed'),
  );
for (const { name } of unloaded) console.log(`failed before its tests: ${relative(process.cwd(), name)}`);
const sum = (count) => reports.reduce((total, report) => total + report[count], 0);
console.log(`${sum('numPassedTests')} passed, ${sum('numFailedTests') + unlisted + unloaded.length} failed`);
process.exitCode = unlisted + unloaded.length > 0 ? 2 : 0;
