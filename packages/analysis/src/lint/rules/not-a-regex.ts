import { actionOf } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { conditionsOf, entriesOf, operationsOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

const LISTS = /^(?:not)?(?:paths|hosts|methods|principals|requestPrincipals|namespaces|serviceAccounts)$/i;

/** Istio compares text: exact, or with one `*` at an end. */
export const notARegex: Rule = {
  code: 'MP306',
  name: 'not-a-regex',
  severity: 'error',
  title: 'A value looks like a regular expression or has * in the middle, and is compared as text',
  fix: 'Use an exact value, `prefix*`, `*suffix`, or for paths the templates `{*}` (one segment) and `{**}` (the rest).',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      for (const rule of rulesOf(policy)) {
        const written = [
          ...[...sourcesOf(rule), ...operationsOf(rule)]
            .flatMap((part) => [...entriesOf(part)])
            .filter(({ list }) => LISTS.test(list)),
          ...conditionsOf(rule).flatMap(({ value, path }) =>
            (['values', 'notValues'] as const).flatMap((list) =>
              texts(value[list]).map((text, index) => ({
                list: String(value.key),
                text,
                path: [...path, list, index],
              })),
            ),
          ),
        ];
        for (const { list, text, path } of written) {
          const why = whyRegex(text, list);
          if (!why) continue;
          const effect =
            actionOf(policy) === 'DENY'
              ? 'so it denies nothing of what was meant'
              : 'so nothing of what was meant matches';
          yield { on: policy, path, message: `${JSON.stringify(text)} is compared as text: ${why}, ${effect}.` };
        }
      }
    }
  },
};

/** How the server names of a port begin, in whatever subset: `outbound_.8080_.*`. Its last dot is one. */
const NAMES_OF_PORT = /^outbound_\.\d+_\.\*$/;

function whyRegex(value: string, list: string): string | undefined {
  if (list === 'connection.sni' && NAMES_OF_PORT.test(value)) return undefined;
  if (/\.[*+]|\[[^\]]*\][*+?]|\\[dwsb./]|\(\?|\(.*\|.*\)/.test(value))
    return 'the characters of a regular expression stand for themselves';
  if (value.startsWith('^') || (value.length > 1 && value.endsWith('$'))) return '^ and $ stand for themselves';
  const inner = value.replace(/^\*/, '').replace(/\*$/, '').replaceAll('{*}', '').replaceAll('{**}', '');
  if (inner.includes('*')) return 'a * in the middle stands for itself';
  if (value.length > 1 && value.startsWith('*') && value.endsWith('*'))
    return 'only one * is taken, so the other stands for itself';
  return list.toLowerCase().endsWith('methods') && value.includes(',')
    ? 'several methods are several entries'
    : undefined;
}
