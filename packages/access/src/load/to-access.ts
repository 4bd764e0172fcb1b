/** Conversion from the schema's output to the model, with a place for each entry. */

import type { Place } from '@meshpass/istio';
import {
  type Access,
  type Approval,
  type ApprovalWebhook,
  type Denial,
  type Grant,
  type GrantRole,
  type GrantTarget,
  OPERATOR_ROLES,
  type OperatorRole,
  type Operators,
  type Trust,
  type Who,
  type Window,
} from '../model.ts';
import type { AccessDocument, GrantEntry, IncludedDocument } from '../schema/access-file.ts';
import type { TargetEntry } from '../schema/target.ts';
import { DAYS } from '../schema/time.ts';
import type { WhoEntry } from '../schema/who.ts';
import type { YamlFile } from './read-yaml.ts';

/** Returns the place of a path below an entry. */
type At = (...path: PropertyKey[]) => Place;

/** Converts `trust`. */
export function toTrust({ trust: { codespaces, issuers, audiences } }: AccessDocument): Trust {
  return {
    ...(codespaces && { codespaces }),
    issuers: Object.entries(issuers).map(([name, { signIn, ...issuer }]) => ({
      name,
      ...issuer,
      ...(signIn && { signIn }),
    })),
    audiences,
  };
}

/** Converts the approval webhooks. */
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

/** Converts `operators`. Empty if the file has none. */
export function toOperators({ operators }: AccessDocument, yaml: YamlFile): Pick<Access, 'operators'> {
  if (!operators) return {};
  const { serviceAccounts, session, deviceFlow } = operators;
  const entries = (role: OperatorRole) =>
    (operators[role] ?? []).map((entry, index) => toWho(entry, yaml.locate(['operators', role, index], 'value')));
  const roles = Object.fromEntries(
    OPERATOR_ROLES.map((role) => [role, entries(role)]),
  ) as unknown as Operators['roles'];
  return {
    operators: {
      roles,
      session,
      deviceFlow,
      serviceAccounts: serviceAccounts.map(({ serviceAccount, roles }, index) => ({
        ...serviceAccount,
        roles,
        place: yaml.locate(['operators', 'serviceAccounts', index], 'value'),
      })),
    },
  };
}

/** Converts `deny`. Empty if the file has none. */
export function toDeny({ deny }: AccessDocument, yaml: YamlFile): Pick<Access, 'deny'> {
  if (!deny) return {};
  return { deny: deny.map((entry, index) => toDenial(entry, yaml.locate(['deny', index], 'value'))) };
}

/** Converts a file's grants. */
export function toGrants({ grants }: Pick<IncludedDocument, 'grants'>, yaml: YamlFile): Grant[] {
  return Object.entries(grants).map(([name, grant]) => toGrant(name, grant, yaml));
}

function toGrant(name: string, grant: GrantEntry, yaml: YamlFile): Grant {
  const at: At = (...path) => yaml.locate(['grants', name, ...path], 'value');
  const { except, during, approval } = grant;
  return {
    name,
    place: yaml.locate(['grants', name], 'key'),
    who: grant.who.map((entry, index) => toWho(entry, at('who', index))),
    ...(except && { except: except.map((entry, index) => toDenial(entry, at('except', index))) }),
    to: grant.to.flatMap((entry, index) => toTargets(entry, at('to', index))),
    kubernetesRoles: (grant.kubernetes?.roles ?? []).map((role, index) =>
      toRole(role, at('kubernetes', 'roles', index)),
    ),
    ...(grant.kubernetes?.allow && { kubernetesAllow: grant.kubernetes.allow }),
    ttl: grant.ttl,
    session: grant.session,
    ...(during && { during: during.map((entry, index) => toWindow(entry, at('during', index))) }),
    ...(approval && { approval: toApproval(approval, (...path) => at('approval', ...path)) }),
  };
}

function toApproval(entry: NonNullable<GrantEntry['approval']>, at: At): Approval {
  const { emergency } = entry;
  const people = (entries: readonly WhoEntry[], ...path: PropertyKey[]) =>
    entries.map((one, index) => toWho(one, at(...path, index)));
  const by = people(entry.by, 'by');
  return {
    place: at(),
    by,
    for: entry.for,
    max: entry.max ?? entry.for,
    reason: entry.reason,
    count: entry.count,
    ...(emergency && {
      emergency: {
        place: at('emergency'),
        for: emergency.for,
        within: emergency.within,
        ...(emergency.who && { who: people(emergency.who, 'emergency', 'who') }),
        review: emergency.review ? people(emergency.review, 'emergency', 'review') : by,
      },
    }),
  };
}

function toWho(entry: WhoEntry, place: Place): Who {
  const { user_id: userId, team_id: teamId, repository_id: repositoryId, reason: _, signedIn, ...rest } = entry;
  return present({
    place,
    ...rest,
    userId,
    teamId,
    repositoryId,
    signedIn: signedIn && present(signedIn),
  }) as unknown as Who;
}

function toDenial(entry: WhoEntry, place: Place): Denial {
  return { ...toWho(entry, place), ...(entry.reason !== undefined && { reason: entry.reason }) };
}

/** Converts an entry of `to`, with one target per port. */
function toTargets(entry: TargetEntry, place: Place): readonly GrantTarget[] {
  const { service, host, labels, allow, grpc, deny, require } = entry;
  const operations = allow || grpc ? [...(allow ?? []), ...(grpc ?? [])] : undefined;
  const ports = entry.ports ?? [entry.port!];
  return ports.map(
    (port) =>
      present({
        place,
        service: service?.service,
        namespace: service?.namespace ?? entry.namespace,
        namespaceLabels: entry.namespace_labels,
        labels,
        host,
        port,
        allow: operations,
        deny,
        require,
      }) as unknown as GrantTarget,
  );
}

type RoleEntry = NonNullable<GrantEntry['kubernetes']>['roles'][number];

function toRole(entry: RoleEntry, place: Place): GrantRole {
  const namespaceLabels = 'namespace_labels' in entry ? entry.namespace_labels : undefined;
  return present({ role: entry.role, namespace: entry.namespace, namespaceLabels, place }) as unknown as GrantRole;
}

type WindowEntry = NonNullable<GrantEntry['during']>[number];

function toWindow({ days, ...rest }: WindowEntry, place: Place): Window {
  return present({ place, days: days?.map((day) => DAYS.indexOf(day)), ...rest }) as unknown as Window;
}

/** Removes undefined members, which exact optional types distinguish from absent ones. */
function present<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never;
}
