/** The form of the access file. What one entry means beside another is checked in check-references.ts. */
import { grantNamespace, isDnsLabel, RESERVED_GRANTS } from '@meshpass/identity';
import { z } from 'zod';
import type { KubernetesPower } from '../model.ts';
import { invalid, type Parsed } from '../problem.ts';
import { approval, approvals } from './approval.ts';
import { type DurationBounds, parseDuration } from './duration.ts';
import { operators } from './operators.ts';
import { KUBERNETES_POWERS, parseRole, parseRoleName } from './role.ts';
import { labels, namespacePattern, target } from './target.ts';
import { checked, named, read, text } from './text.ts';
import { window } from './time.ts';
import { type SchemaOptions, trust } from './trust.ts';
import { denialList, whoList } from './who.ts';

export { GITHUB_ACTIONS_ISSUER, type SchemaOptions } from './trust.ts';

const TTL: DurationBounds = { least: '2m', most: '1h' };
const SESSION: DurationBounds = { least: '10s', most: '12h' };
const DURATION = '^[1-9][0-9]{0,5}[smh]$';

const role = z.union([
  read(parseRole, {
    description: 'CLUSTERROLE@NAMESPACE',
    pattern: '^(?!cluster-admin@|system:)[^@*]+@(?!kube-system$)[a-z0-9-]+$',
  }),
  z
    .strictObject({
      role: checked(parseRoleName, { pattern: '^(?!cluster-admin$|system:)[^@*]+$' }),
      namespace: namespacePattern.optional(),
      namespace_labels: labels.optional(),
    })
    .superRefine((entry, context) => {
      if (entry.namespace === undefined && entry.namespace_labels === undefined)
        context.addIssue({ code: 'custom', message: 'it is bound nowhere: say namespace or namespace_labels' });
    })
    .meta({ anyOf: ['namespace', 'namespace_labels'].map((name) => ({ required: [name] })) }),
]);

const grant = z.strictObject({
  who: whoList,
  except: denialList.optional().describe('Who does not have this grant, whatever "who" says'),
  to: z.array(target).min(1, 'nothing is granted: "to" needs an entry').max(200, 'more than 200 services'),
  kubernetes: z
    .strictObject({
      roles: z.array(role).min(1, 'must not be empty').max(50, 'more than 50 roles'),
      allow: z
        .array(z.enum(Object.keys(KUBERNETES_POWERS) as [KubernetesPower, ...KubernetesPower[]]))
        .min(1, 'must not be empty: leave it out')
        .max(Object.keys(KUBERNETES_POWERS).length, 'names something twice')
        .optional()
        .describe('What these roles may allow beside reading and changing objects; a role that allows more is refused'),
    })
    .optional(),
  ttl: read((input) => parseDuration(input, TTL), {
    description: 'Life of a certificate, 2m to 1h',
    pattern: DURATION,
  }).prefault('10m'),
  session: read((input) => parseDuration(input, SESSION), {
    description: 'Hard end of a session, 10s to 12h',
    pattern: DURATION,
  }).prefault('8h'),
  during: z
    .array(window)
    .min(1, 'never: leave "during" out for always')
    .max(20, 'more than 20 windows')
    .optional()
    .describe('Times in which the grant is open'),
  approval: approval.optional().describe('Who must approve it; without an approval nobody has the grant'),
});

const grants = named(grant, parseGrantName).meta({
  propertyNames: { pattern: '^[a-z0-9]([a-z0-9-]{0,52}[a-z0-9])?$' },
});

const include = z
  .array(text.describe('Path of another file, relative to this one'))
  .max(100, 'more than 100 files')
  .optional()
  .describe('Files whose grants and deny lists count as if they stood here');

/**
 * The schema of the first file.
 * @returns zod schema whose output is ready to become `Access`
 */
export function accessSchema(options: SchemaOptions = {}) {
  return z.strictObject({
    include,
    trust: trust(options),
    deny: denialList.optional().describe('Who gets nothing, whatever grants say'),
    operators: operators.optional().describe('Who may act on the broker itself, by role'),
    grants,
    approvals: approvals.optional().describe('Where requests for approval are sent, and from where answers come'),
  });
}

/** The schema of a file that is included: whose word is taken is said in one place. */
export function includedSchema() {
  return z.strictObject({ include, deny: denialList.optional(), grants: grants.default({}) });
}

export type AccessDocument = z.output<ReturnType<typeof accessSchema>>;
export type IncludedDocument = z.output<ReturnType<typeof includedSchema>>;
export type GrantEntry = z.output<typeof grant>;

function parseGrantName(name: string): Parsed<string> {
  if (!isDnsLabel(name) || !isDnsLabel(grantNamespace(name))) {
    return invalid(`"${name}" is no name of a grant: lower-case letters, digits and inner hyphens, at most 54`);
  }
  // Helm releases live in such a namespace; a grant must not take it over.
  if (name === 'system') return invalid('a grant cannot be called "system": its namespace would be Meshpass\' own');
  if (RESERVED_GRANTS.includes(name)) {
    return invalid(`a grant cannot be called "${name}": the Envoy of a workspace has something else of that name`);
  }
  return { value: name };
}
