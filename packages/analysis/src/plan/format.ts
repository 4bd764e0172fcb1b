/** Formats a plan for the terminal or as a comment on a pull request. */
import { terminalText } from '@meshpass/identity';
import { describeAssumption } from '@meshpass/istio';
import type { Finding } from './finding.ts';
import { isUnknown, type Plan, refusals } from './plan.ts';
import { IN_FORCE_PREFIX } from './standing.ts';
import { UNPROVEN_NOTE_PREFIX } from './unknown.ts';

type Shown = Omit<Plan, 'manifests'>;

const TITLES: Readonly<Record<Finding['kind'], string>> = {
  'grant-does-not-work': 'A grant would not work',
  'reaches-more': 'Workspaces would reach more than is granted',
  'changes-others': 'Other traffic of the mesh would change',
  'not-known': 'Not known',
  note: 'Note',
};

/**
 * Formats a plan as plain text, or as Markdown for a comment on a pull request.
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { formatPlan, planChange } from '@meshpass/analysis/plan';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const cluster = loadManifests(orders, 'cluster.yaml').resources;
 * const text = formatPlan(planChange({ access, cluster, shape, tokens }), 'text');
 * text.includes('dev gains every call on orders.shop:80'); // => true
 * ```
 */
export function formatPlan(plan: Shown, form: 'text' | 'markdown'): string {
  return terminalText(form === 'markdown' ? markdown(plan) : text(plan));
}

/** Lists the changes to the file and to calls without duplicates. Changes that widen access come first. */
function meaning({ reach, changes = [] }: Shown): readonly string[] {
  const said = (isWider: boolean) => changes.filter(({ wider }) => wider === isWider).map(({ says }) => says);
  const calls = reach.map(({ grant, does, what, service }) => `${grant} ${does} ${what} on ${service}`);
  return [...new Set([...said(true), ...calls, ...said(false)])];
}

/** Lists caveats about the changes that are shown. */
function remarks({ changes }: Shown): readonly string[] {
  if (changes) return [];
  return ['Not shown: changes to the file other than calls. To see them, pass the file in force (--from).'];
}

function conclusion(plan: Shown): string {
  if (isUnknown(plan)) return 'This change is refused: it is unknown whether every grant works.';
  if (refusals(plan).length > 0) return 'This change is refused.';
  const { resources, changes } = plan;
  if (resources.length + (changes ?? []).length === 0) return changes ? 'Nothing changes.' : 'No object changes.';
  const proven = 'Every grant works, workspaces reach nothing more, and all other traffic is unchanged';
  const left = plan.findings.some(
    ({ kind, message }) =>
      kind === 'note' && (message.startsWith(UNPROVEN_NOTE_PREFIX) || message.startsWith(IN_FORCE_PREFIX)),
  );
  return left ? `${proven}, except for the ports in the notes.` : `${proven}.`;
}

function assumption({ assumed, unplaced }: Pick<Shown, 'assumed' | 'unplaced'>): readonly string[] {
  return [describeAssumption(assumed), unplaced].filter((one) => one !== undefined);
}

function text(plan: Shown): readonly string[] {
  const changes = meaning(plan);
  return [
    ...plan.findings.flatMap(({ kind, message, example, because }) => [
      `${TITLES[kind]}:`,
      ...[message, `for example ${example}`, because].map((line) => `  ${line}`),
      '',
    ]),
    ...(changes.length > 0 ? ['What it means:', ...changes.map((line) => `  ${line}`), ''] : []),
    ...(plan.resources.length > 0 ? ['What it writes:'] : []),
    ...plan.resources.map(
      ({ does, kind, name, source }) => `  ${does} ${kind} ${name}${source === undefined ? '' : `  (${source})`}`,
    ),
    ...(plan.resources.length > 0 ? [''] : []),
    conclusion(plan),
    ...remarks(plan),
    ...assumption(plan),
    `Plan ${plan.id}`,
  ];
}

/** The maximum number of objects to list, which keeps the comment within GitHub's limit of 65,536 characters. */
const LISTED = 100;

function markdown(plan: Shown): readonly string[] {
  const changes = meaning(plan);
  const listed = (lines: readonly string[]) => [
    ...lines.slice(0, LISTED).map((line) => `- ${line}`),
    ...(lines.length > LISTED ? [`- and ${lines.length - LISTED} more`] : []),
  ];
  return [
    `**${conclusion(plan)}**`,
    ...remarks(plan).flatMap((line) => ['', line]),
    ...assumption({ assumed: plan.assumed }).flatMap((line) => ['', line]),
    ...(plan.unplaced === undefined ? [] : ['', inline(plan.unplaced)]),
    ...plan.findings
      .slice(0, LISTED)
      .flatMap(({ kind, message, example, because }) => [
        '',
        `**${TITLES[kind]}**: ${inline(message)}`,
        ...['', `- for example ${inline(example)}`, `- ${inline(because)}`],
      ]),
    // This list is never truncated, because reviewers must not miss a change that comes after a hundred others.
    ...(changes.length > 0 ? ['', '### What it means', '', ...changes.map((line) => `- ${inline(line)}`)] : []),
    ...(plan.resources.length > 0
      ? [
          ...['', `<details><summary>What it writes: ${plan.resources.length} objects</summary>`, ''],
          ...listed(plan.resources.map(({ does, kind, name }) => inline(`${does} ${kind} ${name}`))),
          ...['', '</details>'],
        ]
      : []),
    ...['', `Plan \`${plan.id.slice(0, 12)}\``],
  ];
}

/**
 * Formats text as inline code. Service names and paths are untrusted, so they must not be able to become links or
 * markup.
 */
function inline(text: string): string {
  return `\`${text.replaceAll('`', "'").replace(/\s+/g, ' ')}\``;
}
