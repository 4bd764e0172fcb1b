/**
 * Vocabulary for recognizing test routes: words in names, and labels whose values state the purpose of an environment.
 */

import { createMemo } from '@meshpass/identity/memory/memoize';

/** Part of a mesh that has a name. In some parts, a word is stronger evidence than in others. */
export type NamedPart = 'namespace' | 'service' | 'subset' | 'route' | 'host' | 'path';

/** Words that indicate an environment in any position. */
const ENVIRONMENTS = [
  ...['tst', 'staging', 'stg', 'nonprod', 'nonproduction', 'preprod', 'preproduction', 'uat', 'loadtest', 'perftest'],
  ...['smoketest', 'pentest', 'pprof', 'pr'],
];
/**
 * Words that indicate an environment if they are the whole name or its end: `test`, `orders-test`. In contrast,
 * `test-results` is a product.
 */
const NOUNS = ['test', 'testing', 'demo', 'debug', 'preview', 'e2e', 'ephemeral', 'scratch', 'poc'];
/** Words that also indicate an environment at the start of a name: `qa-orders`, `dev-api`. */
const PREFIXES = ['qa', 'dev', 'devel', 'develop', 'development'];
/**
 * Words that often describe content when they occur in a path: `/documents/preview`, `/dev/guides`, questions and
 * answers at `/qa`.
 */
const CONTENT_IN_PATHS: ReadonlySet<string> = new Set([
  ...PREFIXES,
  ...['preview', 'demo', 'debug', 'e2e', 'ephemeral', 'scratch', 'poc'],
]);
/**
 * Words that may also be part of a product's name: a payment provider's sandbox, a laboratory's tests, A/B experiments.
 */
const AMBIGUOUS = [
  ...['tests', 'previews', 'sandbox', 'stage', 'experiment', 'experiments', 'experimental', 'playground', 'tmp'],
  ...['temp'],
];
/**
 * Words that may follow the name of an environment without changing its meaning: `test-api`, `orders-dev-eu-west-1`,
 * `shop-qa-v2`.
 */
const PLAIN_ENDS =
  /^(?:v?\d*|[a-z]|eu|us|ap|(?:north|south|east|west|central)+\d*|env|environment|cluster|namespace|ns|api|app|web|www|ui|svc|service|server|host|backend|frontend|gateway|gw|ingress|site|internal|public|blue|green|canary)$/;
/** Products whose names start with such a word, such as a developer portal or a laboratory's results. */
const PRODUCTS =
  /^(?:portal|hub|docs|documentation|tools?|tooling|cent(?:er|re)|blog|community|relations|experience|console|guides?|forum|results?|requests?|drives?|kitchen|kits?|bookings?|appointments?|cases?|management|labs?|reports?)$/;
/** Products whose names end with such a word. */
const PRODUCTS_BEFORE =
  /^(?:(?:speed|drive|blood|covid|pcr|ab|split|skills?|typing|language|placement|eye|hearing|iq|personality)-test|(?:book|request|schedule)-demo)$/;
/**
 * Matches the host of a site for developers: `dev.example.com`, `docs.dev.example.com`, but not
 * `orders.dev.example.com`.
 */
const DEVELOPER_SITE = /^(?:(?:www|docs?|blog|learn|portal|community|forum|status)\.)?dev(?:\.|$)/i;
/** Path segments that may precede the one that states a path's purpose: `/api/v1/test`. */
const PATH_PREFIX = /^(?:api|rest|v\d+)$/;
const PRODUCTION = new Set(['prod', 'production', 'prd', 'live']);
const LABELS = ['env', 'environment', 'stage', 'tier', 'meshpass.dev/environment'];

/** Words that are added to or removed from the vocabulary. */
export interface Vocabulary {
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

export interface TestWords {
  /**
   * Weighs a name. A `clear` name is sufficient to indicate a test, while an `ambiguous` one needs a second indication.
   * Only whole words count, and their position matters: `orders-test` and `pr-1234` are clear, `test-results` is
   * ambiguous, and `latest` is neither.
   */
  readonly weigh: (name: string | undefined, part: NamedPart) => 'clear' | 'ambiguous' | undefined;
  /** Finds the label that states the purpose of an environment, and whether that is test or production. */
  readonly environmentOf: (
    labels: Readonly<Record<string, string>>,
  ) => { readonly label: string; readonly test: boolean } | undefined;
}

const NO_CHANGE: Vocabulary = { add: [], remove: [] };

/**
 * Creates the vocabulary.
 * @param words words to add, which then indicate a test in every name, and words to remove
 * @param labels names of labels whose values state the purpose of an environment
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
  // Results are cached, because the names of namespaces and Services occur in many routes.
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
 * Weighs words that are joined by hyphens.
 * @param leads whether the segment states the purpose of the whole name; later segments of a path are content
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
 * Weighs a word by its neighbours. At the end of a name it indicates an environment, but before other words it may be
 * part of a product's name.
 */
function weighPosition(known: Words, segment: readonly string[], index: number, part: NamedPart): Weight {
  const word = segment[index]!;
  if (PRODUCTS_BEFORE.test(`${segment[index - 1]}-${word}`)) return 'ambiguous';
  const after = segment.slice(index + 1).filter((one) => !PLAIN_ENDS.test(one) && !isWord(known, one));
  if (after.length === 0) return 'clear';
  // An ambiguous namespace name does not need a second indication, so the name of a product must not count as
  // ambiguous.
  if (PRODUCTS.test(after.join('-'))) return part === 'namespace' ? undefined : 'ambiguous';
  return known.prefixes.has(word.replace(/\d+$/, '')) ? 'clear' : 'ambiguous';
}

function isWord(known: Words, word: string): boolean {
  return Object.values(known).some((set) => set.has(word));
}

/**
 * Splits a name at dots and slashes, and each part at hyphens. `pr` without a number does not indicate a pull request.
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
