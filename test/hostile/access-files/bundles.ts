/** Access files with one fault each, beside the same file without it. */
import type { HostileInput, Outcome } from '../area.ts';

export interface AccessFileWorld {
  readonly offer: (bundle: Bundle) => Promise<Outcome>;
}

/** Texts by path; the first is the main file. A link exists on disk alone. */
export type Bundle = Readonly<Record<string, string | { readonly link: string }>>;

/** A file with one grant whose members the caller sets. */
function file(
  parts: Readonly<Record<'trust' | 'who' | 'to' | 'more' | 'top', string>> | Partial<Record<string, string>> = {},
) {
  const {
    who = '[{user: alice}]',
    to = '[{service: orders.shop, port: 8080}]',
    trust = '',
    more = '',
    top = '',
  } = parts;
  return [
    `trust:\n  codespaces: {organization: acme}\n  issuers:\n    okta: {issuer: "https://acme.okta.com", audience: meshpass}\n${trust}`,
    `${top}grants:\n  dev:\n    who: ${who}\n    to: ${to}\n${more}`,
  ].join('');
}

type Parts = Parameters<typeof file>[0];

/** Returns the file without and with a fault. */
export function pair(
  fault: string,
  good: Bundle,
  bad: Bundle,
  code = 'access_file_invalid',
): HostileInput<AccessFileWorld> {
  return { fault, code, control: ({ offer }) => offer(good), attack: ({ offer }) => offer(bad) };
}
export const parts = (fault: string, good: Parts, bad: Parts, code?: string) =>
  pair(fault, { 'access.yaml': file(good) }, { 'access.yaml': file(bad) }, code);
export const text = (fault: string, from: string, to: string, code?: string) => {
  const whole = file();
  if (!whole.includes(from)) throw new Error(`${fault}: ${from} is not in the file`);
  return pair(fault, { 'access.yaml': whole }, { 'access.yaml': whole.replace(from, () => to) }, code);
};
export const to = (fault: string, good: string, bad: string, code?: string) =>
  parts(fault, { to: `[${good}]` }, { to: `[${bad}]` }, code);
export const who = (fault: string, good: string, bad: string, code?: string) =>
  parts(fault, { who: `[${good}]` }, { who: `[${bad}]` }, code);
export const allow = (fault: string, good: string, bad: string, code?: string) =>
  to(
    fault,
    `{service: orders.shop, port: 8080, allow: [${good}]}`,
    `{service: orders.shop, port: 8080, allow: [${bad}]}`,
    code,
  );
export const more = (fault: string, good: string, bad: string, code?: string) =>
  parts(fault, { more: `    ${good}\n` }, { more: `    ${bad}\n` }, code);

/** A file that includes another. */
export const including = (path: string, others: Bundle = {}): Bundle => ({
  'access.yaml': `include: [${JSON.stringify(path)}]\n${file()}`,
  ...others,
});
export const OTHER = 'grants:\n  ops:\n    who: [{user: bob}]\n    to: [{service: ledger.shop, port: 5432}]\n';
const INCLUDED = including('team.yaml', { 'team.yaml': OTHER });
export const include = (fault: string, bad: Bundle, code?: string) => pair(fault, INCLUDED, bad, code);

export const ORDERS = '{service: orders.shop, port: 8080}';
export const CLAIM = '{issuer: okta, claims: {group: [sre]}}';
export const bomb = Array.from({ length: 12 }, (_, level) =>
  level === 0 ? '  a0: &a0 [x, x]\n' : `  a${level}: &a${level} [*a${level - 1}, *a${level - 1}]\n`,
).join('');
export const SHORT = file();
