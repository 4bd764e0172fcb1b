import type { HttpMatch, HttpRoute, StringMatch } from '@meshpass/istio';
import { items, record, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';
import { coversUri } from '../text-match.ts';

/** A route that a wider one before it takes everything from: Istio takes the first that matches. */
export const shadowedRoute: Rule = {
  code: 'MP105',
  name: 'shadowed-route',
  severity: 'warning',
  title: 'A catch-all match precedes a specific one, which is never reached',
  fix: 'Put the specific match first: the first match wins.',
  *check(context) {
    for (const service of context.mesh.all('VirtualService')) {
      const routes = items<HttpRoute>(service.spec.http);
      // Long lists of exact routes are common and quadratic; what shadows is nearly always wide.
      const wide: { readonly index: number; readonly match: HttpMatch }[] = [];
      for (const [index, route] of routes.entries()) {
        const matches = items<HttpMatch>(route.match);
        const effective = matches.length === 0 ? [{}] : matches;
        const by = effective.map((match) => wide.find((one) => covers(one.match, match)));
        if (by.every((one) => one !== undefined)) {
          const before = by[0]!.index;
          const guard = guards(route);
          yield {
            on: service,
            path: ['spec', 'http', index],
            severity: guard ? 'error' : 'warning',
            message: `http[${index}] is never reached: http[${before}] matches all of its calls first${guard ? `, so ${guard} has no effect` : ''}.`,
          };
        }
        for (const match of effective) if (isWide(match)) wide.push({ index, match });
      }
    }
  },
};

/** What a route is there to refuse. */
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
    coversUri(wide.uri, narrow.uri) &&
    (['scheme', 'method', 'authority'] as const).every((part) => sameOrFree(wide[part], narrow[part])) &&
    within(wide.headers, narrow.headers) &&
    within(wide.queryParams, narrow.queryParams) &&
    within(wide.withoutHeaders, narrow.withoutHeaders) &&
    within(wide.sourceLabels, narrow.sourceLabels) &&
    (wide.port === undefined || wide.port === narrow.port) &&
    (wide.sourceNamespace === undefined || wide.sourceNamespace === narrow.sourceNamespace) &&
    (texts(wide.gateways).length === 0 ||
      (texts(narrow.gateways).length > 0 && texts(narrow.gateways).every((one) => texts(wide.gateways).includes(one))))
  );
}

function sameOrFree(wide: StringMatch | undefined, narrow: StringMatch | undefined): boolean {
  return wide === undefined || JSON.stringify(wide) === JSON.stringify(narrow);
}

function within(wide: unknown, narrow: unknown): boolean {
  const given = record(narrow);
  return Object.entries(record(wide)).every(([name, value]) => JSON.stringify(value) === JSON.stringify(given[name]));
}
