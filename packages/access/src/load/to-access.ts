/** Converts the output of the schema to the model, and adds a place to each entry. */

import type { Place } from '@meshpass/istio';
import {
  type Access,
  type Approval,
  type ApprovalWebhook,
  type Grant,
  OPERATOR_ROLES,
  type Operators,
  type Trust,
} from '../model.ts';
import type { AccessDocument, GrantEntry, IncludedDocument } from '../schema/access-file.ts';
import { omitUndefined } from '../schema/text.ts';
import type { YamlFile } from './read-yaml.ts';

/** Returns the place of a path below an entry. */
type At = (...path: PropertyKey[]) => Place;

/** Converts `trust` to the model. */
export function toTrust({ trust: { codespaces, issuers, audiences } }: AccessDocument): Trust {
  return {
    ...(codespaces && { codespaces }),
    issuers: Object.entries(issuers).map(([name, issuer]) => ({ name, ...omitUndefined(issuer) })),
    audiences,
  };
}

/** Converts the approval webhooks to the model. */
export function toWebhooks(
  { webhooks }: NonNullable<AccessDocument['approvals']>,
  yaml: YamlFile,
): readonly ApprovalWebhook[] {
  return Object.entries(webhooks).map(([name, webhook]) => ({
    name,
    ...webhook,
    place: yaml.locate(['approvals', 'webhooks', name], 'key'),
  }));
}

/** Converts `operators` to the model. The result is empty if the file has none. */
export function toOperators({ operators }: AccessDocument, yaml: YamlFile): Pick<Access, 'operators'> {
  if (!operators) return {};
  const { serviceAccounts, session, deviceFlow } = operators;
  const at: At = (...path) => yaml.locate(['operators', ...path], 'value');
  const roles = OPERATOR_ROLES.map((role) => [role, placed(operators[role] ?? [], at, role)]);
  return {
    operators: {
      roles: Object.fromEntries(roles) as Operators['roles'],
      session,
      deviceFlow,
      serviceAccounts: placed(serviceAccounts, at, 'serviceAccounts'),
    },
  };
}

/** Converts `deny` to the model. The result is empty if the file has none. */
export function toDeny({ deny }: AccessDocument, yaml: YamlFile): Pick<Access, 'deny'> {
  return deny ? { deny: placed(deny, (...path) => yaml.locate(path, 'value'), 'deny') } : {};
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
