import { actionOf } from '@meshpass/istio';
import { parseTextTest, passesTest } from '../../diff/formula/text-test.ts';
import { operationEntries } from '../parts.ts';
import { each, type Problem, type Rule } from '../rule.ts';

/**
 * Reports paths that are denied in one spelling although the application also accepts others. Envoy applies the mesh's
 * path normalization, and then compares the path case-sensitively and without the query string. Source:
 * https://istio.io/latest/docs/ops/best-practices/security/#path-normalization
 */
export const pathBypass: Rule = {
  code: 'MP310',
  name: 'path-bypass',
  severity: 'warning',
  title: 'A denied path has equivalent spellings, or a path is written in a form that no request has',
  fix: 'Invert the policy: ALLOW the intended paths. Otherwise deny `/admin` and `/admin/*` together, and set `meshConfig.pathNormalization`.',
  check: each(operationEntries, ({ on, list, value, all }, { mesh }) => {
    if (list !== 'paths' && list !== 'notPaths') return undefined;
    const { pathNormalization } = mesh.config;
    const why = whyNever(value, pathNormalization);
    if (why) return { message: `no request has the path ${JSON.stringify(value)}: ${why}.`, severity: 'error' };
    return list === 'paths' && actionOf(on) === 'DENY' ? otherSpelling(value, all, pathNormalization) : undefined;
  }),
};

/** Finds a spelling of a denied path that is not denied itself, although most servers treat both alike. */
function otherSpelling(path: string, all: readonly string[], normalization: string): Problem | undefined {
  const sibling = missingSibling(path, all);
  if (sibling) return { message: `${path} is denied and ${sibling} is not: most servers treat both alike.` };
  if (normalization === 'NONE') {
    return {
      message: `the mesh does not normalize paths: ${path.replace('/', '//')} and ${path.replace('/', '/./')} pass.`,
      severity: 'error',
    };
  }
  const mergeable = path === all[0] && /[A-Za-z]/.test(path) && path.split('/').length > 2;
  if (normalization !== 'BASE' || !mergeable) return undefined;
  return {
    message: `with pathNormalization BASE, ${path.replace(/^(\/[^/]+)\//, '$1//')} is another path, and bypasses the rule if the server merges slashes.`,
    severity: 'note',
  };
}

function whyNever(path: string, normalization: string): string | undefined {
  const bare = path.replace(/^\*|\*$/g, '');
  if (bare.includes('?')) return 'the query is not part of what is compared';
  if (bare.includes('#')) return 'a fragment is not sent';
  if (!/^[/*]/.test(path)) return 'a path begins with /';
  // The text before a trailing `*` may be only the start of a segment, as in `/.well-known`.
  const dots = path.endsWith('*') ? /\/\.{1,2}\// : /\/\.{1,2}(?:\/|$)/;
  if (normalization !== 'NONE' && dots.test(bare)) return '. and .. are resolved first';
  if (bare.includes('\\') && normalization !== 'NONE') return 'backslashes are converted to slashes first';
  if (normalization.endsWith('MERGE_SLASHES') && bare.includes('//')) return 'slashes are merged first';
  return normalization.startsWith('DECODE') && /%2f|%5c/i.test(bare) ? 'escaped slashes are decoded first' : undefined;
}

function missingSibling(path: string, all: readonly string[]): string | undefined {
  const taken = (one: string) => all.some((pattern) => passesTest(parseTextTest(pattern), one));
  if (path.includes('{') || path.startsWith('*') || path === '/') return undefined;
  if (path.endsWith('/*')) {
    const bare = path.slice(0, -2);
    return bare === '' || taken(bare) ? undefined : bare;
  }
  if (path.endsWith('*')) return undefined;
  const other = path.endsWith('/') ? path.slice(0, -1) : `${path}/`;
  return taken(other) ? undefined : other;
}
