/** `npm run fidelity`: runs every case from a pod and from a Codespace, and writes docs/testing/fidelity.md. */
import { writeFileSync } from 'node:fs';
import { openCallers } from '../callers/call-from.ts';
import { SIDES } from '../callers/calls.ts';
import { CASES } from './cases.ts';
import { fidelityPage } from './page.ts';
import { type CaseResult, runCase, violationsOf } from './run-case.ts';

const PAGE = new URL('../../docs/testing/fidelity.md', import.meta.url);

const callers = await openCallers(SIDES);
const results: CaseResult[] = [];
let violations = 0;
try {
  for (const one of CASES) {
    const result = await runCase(callers, one);
    const problems = violationsOf(result);
    violations += problems.length;
    results.push(result);
    console.log([`${problems.length === 0 ? 'ok ' : 'BAD'} ${one.feature}`, ...problems].join('\n    '));
  }
} finally {
  await callers.close();
}
if (violations === 0) writeFileSync(PAGE, fidelityPage(results));
else console.error(`${violations} outcomes are not as expected: docs/testing/fidelity.md stays as it was.`);
process.exit(violations === 0 ? 0 : 1);
