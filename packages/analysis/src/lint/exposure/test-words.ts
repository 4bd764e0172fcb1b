/** Vocabulary of test routes: words in names, and labels whose values say what an environment is for. */

/** Part of a mesh that a name belongs to. The same word is better evidence in some of them than in others. */
export type NamedPart = 'namespace' | 'service' | 'subset' | 'route' | 'host' | 'path';

/** Words that name an environment wherever they occur. */
const ENVIRONMENTS = [
  ...['test', 'testing', 'tst', 'staging', 'stg', 'nonprod', 'nonproduction', 'preprod', 'preproduction', 'qa', 'uat'],
  ...['e2e', 'loadtest', 'perftest', 'smoketest', 'pentest', 'pprof', 'pr'],
];
/** Words that name an environment, but in a path often content: `/documents/preview`, `/dev/guides`. */
const CONTENT_IN_PATHS = [
  ...['dev', 'devel', 'develop', 'development', 'preview', 'demo', 'debug', 'ephemeral', 'scratch', 'poc'],
];
/** Words that also name products: a payment provider's sandbox, a laboratory's tests, A/B experiments. */
const AMBIGUOUS = [
  ...['tests', 'previews', 'sandbox', 'stage', 'experiment', 'experiments', 'experimental', 'playground', 'tmp'],
  ...['temp'],
];
/** Host of a site for developers: `dev.example.com`, `docs.dev.example.com`, but not `orders.dev.example.com`. */
const DEVELOPER_SITE = /^(?:(?:www|docs?|blog|learn|portal|community|forum|status)\.)?dev(?:\.|$)/i;
const PRODUCTION = new Set(['prod', 'production', 'prd', 'live']);
const LABELS = ['env', 'environment', 'stage', 'tier', 'meshpass.dev/environment'];

/** Additions to the vocabulary, and removals from it. */
export interface Vocabulary {
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

export interface TestWords {
  /**
   * Weighs a name. A `clear` name shows a test by itself; an `ambiguous` one needs a second indication. Only whole words
   * count: `orders-test` and `pr-1234`, but not `latest` or `contest`.
   */
  readonly weigh: (name: string | undefined, part: NamedPart) => 'clear' | 'ambiguous' | undefined;
  /** Finds the label that says what an environment is for, and whether that is a test or production. */
  readonly environmentOf: (
    labels: Readonly<Record<string, string>>,
  ) => { readonly label: string; readonly test: boolean } | undefined;
}

const NO_CHANGE: Vocabulary = { add: [], remove: [] };

/**
 * Creates the vocabulary.
 * @param words words to add, which then show a test in every name, and words to remove
 * @param labels names of labels whose values show what an environment is for
 */
export function testWords(words: Vocabulary = NO_CHANGE, labels: Vocabulary = NO_CHANGE): TestWords {
  const removed = new Set(words.remove.map((word) => word.toLowerCase()));
  const added = words.add.map((word) => word.toLowerCase());
  const clear = new Set([...ENVIRONMENTS.filter((word) => !removed.has(word)), ...added]);
  const inNames = new Set(CONTENT_IN_PATHS.filter((word) => !removed.has(word)));
  const ambiguous = new Set(AMBIGUOUS.filter((word) => !removed.has(word)));
  const names = [...LABELS, ...labels.add].filter((label) => !labels.remove.includes(label));
  const weigh: TestWords['weigh'] = (name, part) => {
    if (typeof name !== 'string') return undefined;
    const found = wordsOf(name);
    if (found.some((word) => clear.has(word))) return 'clear';
    const environments = found.filter((word) => inNames.has(word));
    const isSite = part === 'host' && DEVELOPER_SITE.test(name) && environments.every((word) => word === 'dev');
    if (environments.length > 0) return part === 'path' || isSite ? 'ambiguous' : 'clear';
    return found.some((word) => ambiguous.has(word)) ? 'ambiguous' : undefined;
  };
  return {
    weigh,
    environmentOf: (given) => {
      for (const name of names) {
        const value = given[name];
        if (value === undefined) continue;
        const test = weigh(value, 'namespace') !== undefined;
        if (test || wordsOf(value).some((word) => PRODUCTION.has(word))) return { label: `${name}: ${value}`, test };
      }
      return undefined;
    },
  };
}

/** Splits a name into words. Numbers are dropped: `test2`, `pr-123`; `pr` without a number is no pull request. */
function wordsOf(name: string): readonly string[] {
  return name
    .toLowerCase()
    .replaceAll(/(?<![a-z0-9])(non|pre)[-_](?=prod)/g, '$1')
    .replaceAll(/(?<![a-z0-9])pr(?![-_]?\d)(?![a-z0-9])/g, ' ')
    .split(/[^a-z0-9]+/)
    .flatMap((word) => [word, word.replace(/\d+$/, '')])
    .filter((word) => word !== '');
}
