// Prints what Vitest's JSON reports hold: minutes by suite, and last the totals of all of them, alone on a line.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const reports = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')));
const minutes = new Map();
for (const { testResults } of reports) {
  for (const { name, startTime, endTime } of testResults) {
    const suite = relative(process.cwd(), name).split('/').slice(0, 2).join('/');
    minutes.set(suite, (minutes.get(suite) ?? 0) + (endTime - startTime) / 60_000);
  }
}
console.log('Minutes by suite, of tests that run side by side:');
for (const [suite, taken] of [...minutes].sort(([, a], [, b]) => b - a)) {
  console.log(`${taken.toFixed(1).padStart(7)}  ${suite}`);
}
const sum = (count) => reports.reduce((total, report) => total + report[count], 0);
console.log(`${sum('numPassedTests')} passed, ${sum('numFailedTests')} failed`);
