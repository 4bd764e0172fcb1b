/** The schema for an access file. Entries are checked against each other in `check-references.ts`. */
import { grantNamespace, isDnsLabel, RESERVED_GRANTS } from '@meshpass/identity';
import { z } from 'zod';
import { KUBERNETES_POWERS, type KubernetesPower } from '../model.ts';
import { malformedText, notValid, type Parsed, unanchoredPattern } from '../problem.ts';
import { approval, approvals } from './approval.ts';
import { duration } from './duration.ts';
import { operators } from './operators.ts';
import { labels, namespacePattern, target } from './target.ts';
import { displayText, keyedByName, read, report, text } from './text.ts';
import { timeWindow } from './time.ts';
import { type SchemaOptions, trust } from './trust.ts';
import { denialList, whoList } from './who.ts';

export { GITHUB_ACTIONS_ISSUER, type SchemaOptions } from './trust.ts';

const CONTACT_CHARACTERS = 200;

const role = z.union([
  read(parseRole, {
    description: 'CLUSTERROLE@NAMESPACE',
    pattern: '^(?!cluster-admin@|system:)[^@*]+@(?!kube-system$)[a-z0-9-]+$',
  }),
  z
    .strictObject({
      role: read(parseRoleName, { pattern: '^(?!cluster-admin$|system:)[^@*]+$' }),
      namespace: namespacePattern.optional(),
      namespace_labels: labels.optional(),
    })
    .superRefine((entry, context) => {
      if (entry.namespace === undefined && entry.namespace_labels === undefined)
        report(context, 'the role does not select a namespace: add namespace or namespace_labels');
    })
    .transform(({ namespace_labels: namespaceLabels, ...entry }) => ({ ...entry, namespaceLabels }))
    .meta({ anyOf: ['namespace', 'namespace_labels'].map((name) => ({ required: [name] })) }),
]);

const grant = z.strictObject({
  who: whoList,
  except: denialList.optional().describe('People and jobs that do not get this grant, even if "who" matches them'),
  to: z.array(target).min(1, 'nothing is granted: add an entry to "to"').max(200, 'more than 200 services'),
  kubernetes: z
    .strictObject({
      roles: z.array(role).min(1, 'must not be empty').max(50, 'more than 50 roles'),
      allow: z
        .array(z.enum(Object.keys(KUBERNETES_POWERS) as [KubernetesPower, ...KubernetesPower[]]))
        .min(1, 'must not be empty: add an entry, or remove it')
        .max(Object.keys(KUBERNETES_POWERS).length, 'lists a power twice')
        .optional()
        .describe('Powers that these roles may have beyond reading and changing objects; a role with more is refused'),
    })
    .optional(),
  ttl: duration('Certificate lifetime', '2m', '1h').prefault('10m'),
  session: duration('Maximum session length', '10s', '12h').prefault('8h'),
  during: z
    .array(timeWindow)
    .min(1, 'an empty list never opens the grant: remove "during" to keep it always open')
    .max(20, 'more than 20 windows')
    .optional()
    .describe('Times in which the grant is open'),
  approval: approval.optional().describe('People who must approve the grant before a session gets it'),
});

const grants = keyedByName(grant, parseGrantName).meta({
  propertyNames: { pattern: '^[a-z0-9]([a-z0-9-]{0,52}[a-z0-9])?$' },
});

const include = z
  .array(text.describe('Path of another file, relative to this one'))
  .max(100, 'more than 100 files')
  .optional()
  .describe('Files whose grants are added to those of this file');

/**
 * Creates the schema for the main access file.
 * @returns a Zod schema whose output can be converted to `Access`
 */
export function accessSchema(options: SchemaOptions = {}) {
  return z.strictObject({
    include,
    contact: displayText
      .max(CONTACT_CHARACTERS, `is longer than ${CONTACT_CHARACTERS} characters`)
      .optional()
      .describe('Contact for access requests: an e-mail address, a URL or a channel. Refusals show it'),
    trust: trust(options),
    deny: denialList.optional().describe('People and jobs that get no grant and no role, even if entries match them'),
    operators: operators.optional().describe('Operators of the broker, by role'),
    grants,
    approvals: approvals
      .optional()
      .describe('Webhooks to which approval requests are sent, and whose answers are accepted'),
  });
}

/**
 * Creates the schema for an included file, which may only contain grants. Settings that apply to all grants belong in
 * the main file.
 */
export function includedSchema() {
  return z.strictObject({ include, grants: grants.default({}) });
}

export type AccessDocument = z.output<ReturnType<typeof accessSchema>>;
export type IncludedDocument = z.output<ReturnType<typeof includedSchema>>;
export type GrantEntry = z.output<typeof grant>;

function parseGrantName(name: string): Parsed<string> {
  if (!isDnsLabel(name) || !isDnsLabel(grantNamespace(name))) {
    return notValid(name, 'grant name: use at most 54 lower-case letters, digits and inner hyphens');
  }
  // The Helm chart uses this namespace, so a grant must not take it over.
  if (name === 'system')
    return malformedText('a grant cannot be named "system": its namespace would be that of Meshpass itself');
  if (RESERVED_GRANTS.includes(name)) {
    return malformedText(`a grant cannot be named "${name}": a workspace's Envoy already uses this name`);
  }
  return { value: name };
}

// ClusterRoles that an access file may assign.

/** Parses a role binding such as `view@shop`, which is `CLUSTERROLE@NAMESPACE`. */
function parseRole(text: string): Parsed<{ readonly role: string; readonly namespace: string }> {
  const [role, namespace, ...rest] = text.split('@');
  if (text.includes('*'))
    return unanchoredPattern(
      `${JSON.stringify(text)}: a role in this form is granted by its exact name; for a pattern of namespaces, use {role: ..., namespace: ...}`,
    );
  if (!role || !namespace || rest.length > 0 || !isDnsLabel(namespace)) {
    return notValid(text, 'role: use CLUSTERROLE@NAMESPACE, as in view@shop');
  }
  const named = parseRoleName(role);
  if ('message' in named) return named;
  if (namespace === 'kube-system')
    return malformedText(
      'kube-system holds the keys of the cluster, so grants cannot bind roles there: use a different namespace',
    );
  return { value: { role, namespace } };
}

const ROLE_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Parses the name of a ClusterRole. Rejects roles that workspaces must never have. */
function parseRoleName(role: string): Parsed<string> {
  if (role === 'cluster-admin' || role.startsWith('system:')) {
    return malformedText(
      `${JSON.stringify(role)} is reserved for Kubernetes and cannot be granted to workspaces: use view, edit or your own role`,
    );
  }
  return ROLE_NAME.test(role) ? { value: role } : notValid(role, 'ClusterRole name');
}
