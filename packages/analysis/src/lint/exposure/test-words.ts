/**
 * Defines the vocabulary for recognizing test routes: words in names, and labels whose values describe the purpose of
 * an environment.
 */

import { createMemo } from '@meshpass/identity';

/** The kinds of names in a mesh. The same word can be stronger evidence in one kind of name than in another. */
export type NamedPart = 'namespace' | 'service' | 'subset' | 'route' | 'host' | 'path';

/** Words that indicate an environment regardless of their position in a name. */
const ENVIRONMENTS = [
  ...['tst', 'staging', 'stg', 'nonprod', 'nonproduction', 'preprod', 'preproduction', 'uat', 'loadtest', 'perftest'],
  ...['smoketest', 'pentest', 'pprof', 'pr'],
];
/**
 * Words that indicate an environment if they make up the whole name or end it, as in `test` and `orders-test`. In
 * contrast, `test-results` is a product.
 */
const NOUNS = ['test', 'testing', 'demo', 'debug', 'preview', 'e2e', 'ephemeral', 'scratch', 'poc'];
/** Words that also indicate an environment at the start of a name, as in `qa-orders` and `dev-api`. */
const PREFIXES = ['qa', 'dev', 'devel', 'develop', 'development'];
/**
 * Words that often describe content if they are part of a path, such as `/documents/preview`, `/dev/guides`, or `/qa`
 * for questions and answers.
 */
const CONTENT_IN_PATHS: ReadonlySet<string> = new Set([
  ...PREFIXES,
  ...['preview', 'demo', 'debug', 'e2e', 'ephemeral', 'scratch', 'poc'],
]);
/**
 * Words that can also be part of a product's name, such as a payment provider's sandbox, lab tests, or A/B experiments.
 */
const AMBIGUOUS = [
  ...['tests', 'previews', 'sandbox', 'stage', 'experiment', 'experiments', 'experimental', 'playground', 'tmp'],
  ...['temp'],
];
/**
 * Words that can follow the name of an environment without changing its meaning, as in `test-api`,
 * `orders-dev-eu-west-1` and `shop-qa-v2`.
 */
const PLAIN_ENDS =
  /^(?:v?\d*|[a-z]|eu|us|ap|(?:north|south|east|west|central)+\d*|env|environment|cluster|namespace|ns|api|app|web|www|ui|svc|service|server|host|backend|frontend|gateway|gw|ingress|site|internal|public|blue|green|canary)$/;
/** Words that turn such a word into the name of a real product, as in "developer portal" or "test results". */
const PRODUCTS =
  /^(?:portal|hub|docs|documentation|tools?|tooling|cent(?:er|re)|blog|community|relations|experience|console|guides?|forum|results?|requests?|drives?|kitchen|kits?|bookings?|appointments?|cases?|management|labs?|reports?)$/;
/** The names of real products that end with such a word, such as "speed test" or "book demo". */
const PRODUCTS_BEFORE =
  /^(?:(?:speed|drive|blood|covid|pcr|ab|split|skills?|typing|language|placement|eye|hearing|iq|personality)-test|(?:book|request|schedule)-demo)$/;
/**
 * Matches the host of a site for developers, such as `dev.example.com` and `docs.dev.example.com`, but not
 * `orders.dev.example.com`.
 */
const DEVELOPER_SITE = /^(?:(?:www|docs?|blog|learn|portal|community|forum|status)\.)?dev(?:\.|$)/i;
/** Matches path segments that can precede the one that indicates the purpose of a path, as in `/api/v1/test`. */
const PATH_PREFIX = /^(?:api|rest|v\d+)$/;
const PRODUCTION = new Set(['prod', 'production', 'prd', 'live']);
const LABELS = ['env', 'environment', 'stage', 'tier', 'meshpass.dev/environment'];

/** The words that settings add to the vocabulary, and those that they remove from it. */
export interface Vocabulary {
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

export interface TestWords {
  /**
   * Weighs a name. A `clear` name is enough to indicate a test, whereas an `ambiguous` one needs a second indication.
   * Only whole words count, and their position matters: `orders-test` and `pr-1234` are clear, `test-results` is
   * ambiguous, and `latest` is neither.
   */
  readonly weigh: (name: string | undefined, part: NamedPart) => 'clear' | 'ambiguous' | undefined;
  /**
   * Finds the label that describes the purpose of an environment, and determines whether it says test or production.
   */
  readonly environmentOf: (
    labels: Readonly<Record<string, string>>,
  ) => { readonly label: string; readonly test: boolean } | undefined;
}

const NO_CHANGE: Vocabulary = { add: [], remove: [] };

/**
 * Creates the vocabulary for recognizing test routes.
 * @param words the words to add, which then indicate a test in any name, and the words to remove
 * @param labels the names of labels whose values describe the purpose of an environment, to add or to remove
 */
export function testWords(words: Vocabulary = NO_CHANGE, labels: Vocabulary = NO_CHANGE): TestWords {
  const removed = new Set(words.remove.map((word) => word.toLowerCase()));
  const without = (given: readonly string[]) => new Set(given.filter((word) => !removed.has(word)));
  const known: Words = {
    clear: new Set([...without(ENVIRONMENTS), ...words.add.map((word) => word.toLowerCase())]),
    nouns: without(NOUNS),
    prefixes: without(PREFIXES),
    ambiguous: without(AMBIGUOUS),
  };
  const names = [...LABELS, ...labels.add].filter((label) => !labels.remove.includes(label));
  // Results are cached because the same names of namespaces and Services occur in many routes.
  const once = createMemo();
  const weigh: TestWords['weigh'] = (name, part) =>
    typeof name === 'string' ? once(`${part} ${name}`, () => weighName(name, part)) : undefined;
  const weighName = (name: string, part: NamedPart): Weight => {
    const segments = segmentsOf(name);
    const first = segments.findIndex((segment) => !PATH_PREFIX.test(segment.join('-')));
    const weights = segments.map((segment, index) =>
      weighSegment(known, segment, part, part !== 'path' || index === first),
    );
    if (!weights.includes('clear')) return weights.find((weight) => weight !== undefined);
    const isSite = part === 'host' && DEVELOPER_SITE.test(name);
    return isSite && segments.every((segment) => segment.join('-') === 'dev' || !weighSegment(known, segment, part))
      ? 'ambiguous'
      : 'clear';
  };
  return {
    weigh,
    environmentOf: (given) => {
      for (const name of names) {
        const value = given[name];
        if (value === undefined) continue;
        const test = weigh(value, 'namespace') !== undefined;
        if (
          test ||
          segmentsOf(value)
            .flat()
            .some((word) => PRODUCTION.has(word))
        )
          return { label: `${name}: ${value}`, test };
      }
      return undefined;
    },
  };
}

interface Words {
  readonly clear: ReadonlySet<string>;
  readonly nouns: ReadonlySet<string>;
  readonly prefixes: ReadonlySet<string>;
  readonly ambiguous: ReadonlySet<string>;
}

type Weight = ReturnType<TestWords['weigh']>;

/**
 * Weighs a part of a name whose words are joined by hyphens.
 * @param leads whether this part indicates the purpose of the whole name; the later segments of a path describe content
 */
function weighSegment(known: Words, segment: readonly string[], part: NamedPart, leads = true): Weight {
  const weights = segment.map((written, index): Weight => {
    const word = [written, written.replace(/\d+$/, '')].find((one) => isWord(known, one));
    if (word === undefined) return undefined;
    if (known.clear.has(word)) return 'clear';
    if (known.ambiguous.has(word)) return 'ambiguous';
    if (part === 'path' && (!leads || CONTENT_IN_PATHS.has(word))) return 'ambiguous';
    return weighPosition(known, segment, index, part);
  });
  return weights.find((weight) => weight === 'clear') ?? weights.find((weight) => weight !== undefined);
}

/**
 * Weighs a word by its neighbours. At the end of a name it indicates an environment, but in front of other words it
 * could be part of a product's name.
 */
function weighPosition(known: Words, segment: readonly string[], index: number, part: NamedPart): Weight {
  const word = segment[index]!;
  if (PRODUCTS_BEFORE.test(`${segment[index - 1]}-${word}`)) return 'ambiguous';
  const after = segment.slice(index + 1).filter((one) => !PLAIN_ENDS.test(one) && !isWord(known, one));
  if (after.length === 0) return 'clear';
  // An ambiguous namespace name is enough to indicate a test, so product names must not count as ambiguous here.
  if (PRODUCTS.test(after.join('-'))) return part === 'namespace' ? undefined : 'ambiguous';
  return known.prefixes.has(word.replace(/\d+$/, '')) ? 'clear' : 'ambiguous';
}

function isWord(known: Words, word: string): boolean {
  return Object.values(known).some((set) => set.has(word));
}

/**
 * Splits a name at dots and slashes, and then each part at hyphens. The word `pr` is removed if it is not followed by a
 * number, because it does not refer to a pull request then.
 */
function segmentsOf(name: string): readonly (readonly string[])[] {
  return name
    .toLowerCase()
    .replaceAll(/(?<![a-z0-9])(non|pre)[-_](?=prod)/g, '$1')
    .replaceAll(/(?<![a-z0-9])pr(?![-_]?\d)(?![a-z0-9])/g, '')
    .split(/[^a-z0-9_-]+/)
    .map((segment) => segment.split(/[-_]+/).filter((word) => word !== ''))
    .filter((segment) => segment.length > 0);
}
