import { actionOf, type Path } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { operationsOf, rulesOf } from '../policy-rules.ts';
import type { Report, Rule } from '../rule.ts';

/**
 * A path denied in one spelling while the application takes others. Envoy compares paths in their case, without the query,
 * after the mesh's normalisation. Source: https://istio.io/latest/docs/ops/best-practices/security/#path-normalization
 */
export const pathBypass: Rule = {
  code: 'MP310',
  name: 'path-bypass',
  severity: 'warning',
  title: 'A denied path has equivalent spellings, or a path is written in a form that no request has',
  fix: 'Invert the policy: ALLOW the intended paths. Otherwise deny `/admin` and `/admin/*` together, and set `meshConfig.pathNormalization`.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      const denies = actionOf(policy) === 'DENY';
      for (const rule of rulesOf(policy)) {
        for (const { value, path } of operationsOf(rule)) {
          for (const list of ['paths', 'notPaths'] as const) {
            const paths = texts(value[list]);
            for (const [index, one] of paths.entries()) {
              const at: Path = [...path, list, index];
              const say = (message: string, severity: Report['severity']): Report => ({
                on: policy,
                path: at,
                message,
                ...(severity && { severity }),
              });
              const impossible = whyNever(one, context.mesh.config.pathNormalization);
              if (impossible) {
                yield say(`no request has the path ${JSON.stringify(one)}: ${impossible}.`, 'error');
              } else if (denies && list === 'paths') {
                const sibling = missingSibling(one, paths);
                if (sibling)
                  yield say(`${one} is denied and ${sibling} is not: most servers answer both alike.`, undefined);
                else if (context.mesh.config.pathNormalization === 'NONE') {
                  yield say(
                    `the mesh does not normalise paths: ${one.replace('/', '//')} and ${one.replace('/', '/./')} pass.`,
                    'error',
                  );
                } else if (
                  /[A-Za-z]/.test(one) &&
                  context.mesh.config.pathNormalization === 'BASE' &&
                  one.split('/').length > 2 &&
                  index === 0
                ) {
                  yield say(
                    `with pathNormalization BASE, ${one.replace(/^(\/[^/]+)\//, '$1//')} is another path, and passes where the server merges slashes.`,
                    'note',
                  );
                }
              }
            }
          }
        }
      }
    }
  },
};

function whyNever(path: string, normalization: string): string | undefined {
  const bare = path.replace(/^\*|\*$/g, '');
  if (bare.includes('?')) return 'the query is not part of what is compared';
  if (bare.includes('#')) return 'a fragment is not sent';
  if (!/^[/*]/.test(path)) return 'a path begins with /';
  // Before a final * stands the beginning of a segment, such as `/.well-known`.
  const dots = path.endsWith('*') ? /\/\.{1,2}\// : /\/\.{1,2}(?:\/|$)/;
  if (normalization !== 'NONE' && dots.test(bare)) return '. and .. are resolved before';
  if (bare.includes('\\') && normalization !== 'NONE') return 'backslashes are made slashes before';
  if (normalization.endsWith('MERGE_SLASHES') && bare.includes('//')) return 'slashes are merged before';
  return normalization.startsWith('DECODE') && /%2f|%5c/i.test(bare) ? 'escaped slashes are decoded before' : undefined;
}

function missingSibling(path: string, all: readonly string[]): string | undefined {
  const taken = (one: string) =>
    all.some((pattern) => (pattern.endsWith('*') && one.startsWith(pattern.slice(0, -1))) || pattern === one);
  if (path.includes('{') || path.startsWith('*') || path === '/') return undefined;
  if (path.endsWith('/*')) {
    const bare = path.slice(0, -2);
    return bare === '' || taken(bare) ? undefined : bare;
  }
  if (path.endsWith('*')) return undefined;
  const other = path.endsWith('/') ? path.slice(0, -1) : `${path}/`;
  return taken(other) ? undefined : other;
}
