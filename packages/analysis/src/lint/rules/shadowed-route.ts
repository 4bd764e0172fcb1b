import type { HttpMatch, HttpRoute } from '@meshpass/istio';
import { items, record, texts } from '@meshpass/istio/members';
import { coversMatch, coversUri, isFieldSubset } from '../../routes/text-match.ts';
import type { Rule } from '../rule.ts';

/**
 * Reports routes that are never reached, because an earlier and broader route handles all of their calls. The first
 * match wins.
 */
export const shadowedRoute: Rule = {
  code: 'MP105',
  name: 'shadowed-route',
  severity: 'warning',
  title: 'A catch-all match precedes a specific one, which is never reached',
  fix: 'Put the specific match first: the first match wins.',
  *check(context) {
    for (const service of context.mesh.all('VirtualService')) {
      const wide = new Map<string, Wide[]>();
      for (const [index, route] of items(service.spec.http).entries()) {
        const by = coveredBy(wide, route, index);
        if (by === undefined) continue;
        const guard = guards(route);
        yield {
          on: service,
          path: ['spec', 'http', index],
          severity: guard ? 'error' : 'warning',
          message: `http[${index}] is never reached: http[${by}] matches all of its calls first${guard ? `, so ${guard} has no effect` : ''}.`,
        };
      }
    }
  },
};

interface Wide {
  readonly index: number;
  readonly match: HttpMatch;
}

/**
 * Returns the index of an earlier route that handles all calls of this route, or undefined if there is none. The
 * matches of this route are added to `wide` so that later routes can be compared with them.
 */
function coveredBy(wide: Map<string, Wide[]>, route: HttpRoute, index: number): number | undefined {
  const matches = items(route.match).length === 0 ? [{}] : items(route.match);
  const by = matches.map((match) => firstCovering(wide, match));
  for (const match of matches.filter(isWide)) add(wide, { index, match });
  return by.includes(undefined) ? undefined : by[0]!.index;
}

/**
 * Returns the path by which a match is grouped. Matches are only compared with those whose path could cover their own.
 */
function keyOf({ uri }: HttpMatch): string {
  if (coversUri(uri, undefined)) return EVERY_PATH;
  return uri?.prefix === undefined ? `~${uri?.regex}` : uri.prefix;
}

const EVERY_PATH = '';

function add(wide: Map<string, Wide[]>, one: Wide): void {
  const key = keyOf(one.match);
  const known = wide.get(key);
  if (known) known.push(one);
  else wide.set(key, [one]);
}

function firstCovering(wide: ReadonlyMap<string, readonly Wide[]>, match: HttpMatch): Wide | undefined {
  const { exact, prefix, regex } = match.uri ?? {};
  const text = prefix ?? exact ?? '';
  const keys = [EVERY_PATH, ...(regex === undefined ? [] : [`~${regex}`])];
  for (let length = 1; length <= text.length; length++) keys.push(text.slice(0, length));
  let first: Wide | undefined;
  for (const key of keys) {
    const found = wide.get(key)?.find((one) => covers(one.match, match));
    if (found && (!first || found.index < first.index)) first = found;
  }
  return first;
}

/** Describes how a route rejects or redirects calls. Returns undefined if it forwards them. */
function guards(route: HttpRoute): string | undefined {
  const status = route.directResponse?.status;
  if (typeof status === 'number' && status >= 400) return `the refusal with ${status}`;
  const abort = record(record(route.fault).abort);
  if (Object.keys(abort).length > 0) return 'the abort';
  return route.redirect ? 'the redirect' : undefined;
}

function isWide(match: HttpMatch): boolean {
  return match.uri?.exact === undefined;
}

function covers(wide: HttpMatch, narrow: HttpMatch): boolean {
  if (wide.ignoreUriCase !== narrow.ignoreUriCase && wide.uri && narrow.uri && !wide.ignoreUriCase) return false;
  return (
    coversMatch(wide, narrow) &&
    isFieldSubset(wide.sourceLabels, narrow.sourceLabels) &&
    (wide.port === undefined || wide.port === narrow.port) &&
    (wide.sourceNamespace === undefined || wide.sourceNamespace === narrow.sourceNamespace) &&
    (texts(wide.gateways).length === 0 ||
      (texts(narrow.gateways).length > 0 && texts(narrow.gateways).every((one) => texts(wide.gateways).includes(one))))
  );
}
