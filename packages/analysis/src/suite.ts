/** Tests an access file against the cases and properties in a YAML file. Does not require a cluster. */
export type { Coverage } from './suite/coverage.ts';
export { formatJunit } from './suite/junit.ts';
export {
  type CaseCall,
  type CaseWho,
  type PolicyCase,
  type PolicyProperty,
  type PolicySuite,
  readSuite,
} from './suite/read-suite.ts';
export { type Outcome, runSuites, type SuiteInput, type SuiteResult } from './suite/run-suite.ts';
