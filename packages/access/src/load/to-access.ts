/** Converts the output of the schema to the model, and adds a place to each entry. */

import type { Place } from '@meshpass/istio';
import { type Access, type Approval, type Grant, OPERATOR_ROLES, type Operators } from '../model.ts';
import type { AccessDocument, GrantEntry, IncludedDocument } from '../schema/access-file.ts';
import { omitUndefined } from '../schema/text.ts';
import type { YamlFile } from './read-yaml.ts';

/** Returns the place of a path below an entry. */
type At = (...path: PropertyKey[]) => Place;

/** Converts everything in the main file except for its grants to the model. */
export function toSettings(
  { contact, trust: { codespaces, issuers, audiences }, deny, operators, approvals }: AccessDocument,
  yaml: YamlFile,
): Omit<Access, 'file' | 'files' | 'grants'> {
  const at: At = (...path) => yaml.locate(path, 'value');
  return {
    ...(contact !== undefined && { contact }),
    trust: {
      ...(codespaces && { codespaces }),
      issuers: Object.entries(issuers).map(([name, issuer]) => ({ name, ...omitUndefined(issuer) })),
      audiences,
    },
    ...(deny && { deny: placed(deny, at, 'deny') }),
    ...(operators && { operators: toOperators(operators, at) }),
    ...(approvals && {
      webhooks: Object.entries(approvals.webhooks).map(([name, webhook]) => ({
        name,
        ...webhook,
        place: yaml.locate(['approvals', 'webhooks', name], 'key'),
      })),
    }),
  };
}

function toOperators(entry: NonNullable<AccessDocument['operators']>, at: At): Operators {
  const { serviceAccounts, session, deviceFlow } = entry;
  const roles = OPERATOR_ROLES.map((role) => [role, placed(entry[role] ?? [], at, 'operators', role)]);
  return {
    roles: Object.fromEntries(roles) as Operators['roles'],
    session,
    deviceFlow,
    serviceAccounts: placed(serviceAccounts, at, 'operators', 'serviceAccounts'),
  };
}

/** Converts a file's grants to the model. */
export function toGrants({ grants }: Pick<IncludedDocument, 'grants'>, yaml: YamlFile): Grant[] {
  return Object.entries(grants).map(([name, grant]) => toGrant(name, grant, yaml));
}

function toGrant(name: string, grant: GrantEntry, yaml: YamlFile): Grant {
  const at: At = (...path) => yaml.locate(['grants', name, ...path], 'value');
  const { kubernetes, except, during, approval } = grant;
  return {
    name,
    place: yaml.locate(['grants', name], 'key'),
    who: placed(grant.who, at, 'who'),
    ...(except && { except: placed(except, at, 'except') }),
    to: grant.to.flatMap((targets, index) => targets.map((target) => ({ ...target, place: at('to', index) }))),
    kubernetesRoles: placed(kubernetes?.roles ?? [], at, 'kubernetes', 'roles'),
    ...(kubernetes?.allow && { kubernetesAllow: kubernetes.allow }),
    ttl: grant.ttl,
    session: grant.session,
    ...(during && { during: placed(during, at, 'during') }),
    ...(approval && { approval: toApproval(approval, (...path) => at('approval', ...path)) }),
  };
}

function toApproval({ emergency, ...entry }: NonNullable<GrantEntry['approval']>, at: At): Approval {
  const by = placed(entry.by, at, 'by');
  return {
    ...entry,
    place: at(),
    by,
    max: entry.max ?? entry.for,
    ...(emergency && {
      emergency: {
        place: at('emergency'),
        for: emergency.for,
        within: emergency.within,
        ...(emergency.who && { who: placed(emergency.who, at, 'emergency', 'who') }),
        review: emergency.review ? placed(emergency.review, at, 'emergency', 'review') : by,
      },
    }),
  };
}

/** Adds the place in the file to each entry of the list at a path. */
function placed<T extends object>(entries: readonly T[], at: At, ...path: PropertyKey[]) {
  return entries.map((entry, index) => ({ ...omitUndefined(entry), place: at(...path, index) }));
}
