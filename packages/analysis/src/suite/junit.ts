/** Formats test results as JUnit XML, which all common CI systems can display. */
import type { SuiteResult } from './run-suite.ts';

/**
 * Formats the results of test files as JUnit XML for CI systems.
 * @example
 * ```ts
 * import { formatJunit } from '@meshpass/analysis/suite';
 * const outcome = { file: 'policy-test.yaml', line: 3, name: 'reads orders', passed: true, said: 'allowed' };
 * const coverage = { covered: 1, total: 1, missed: [] };
 * formatJunit({ outcomes: [outcome], coverage }).includes('tests="1"'); // => true
 * ```
 */
export function formatJunit({ outcomes }: SuiteResult): string {
  const byFile = Map.groupBy(outcomes, ({ file }) => file);
  const suites = [...byFile].map(([file, some]) => {
    const cases = some.map(({ name, line, passed, said }) => {
      const open = `    <testcase name="${escaped(name)}" classname="${escaped(file)}" file="${escaped(file)}" line="${line}"`;
      return passed ? `${open}/>` : `${open}>\n      <failure message="${escaped(said)}"/>\n    </testcase>`;
    });
    const failures = some.filter(({ passed }) => !passed).length;
    return `  <testsuite name="${escaped(file)}" tests="${some.length}" failures="${failures}">\n${cases.join('\n')}\n  </testsuite>`;
  });
  const failures = outcomes.filter(({ passed }) => !passed).length;
  const head = '<?xml version="1.0" encoding="UTF-8"?>';
  return `${head}\n<testsuites tests="${outcomes.length}" failures="${failures}">\n${suites.join('\n')}\n</testsuites>\n`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\n': '&#10;',
};

/** Escapes text for XML 1.0, and replaces the control characters that XML 1.0 does not allow. */
function escaped(text: string): string {
  return (
    text
      .toWellFormed()
      .replace(/[&<>"\n]/g, (character) => ENTITIES[character]!)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what has to go
      .replace(/[\u0000-\u0008\u000b-\u001f\ufffe\uffff]/g, '\ufffd')
  );
}
