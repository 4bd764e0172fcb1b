/** Who acts as an operator, and whether they may. */
import type { OperatorRole } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { type OperatorAction, termsOf } from './actions.ts';

/** A role, and the place in the access file that gives it: `access.yaml:12:7`. */
export interface HeldRole {
  readonly role: OperatorRole;
  readonly place: string;
}

export interface OperatorCaller {
  /** `break-glass`: whoever has the token that the broker was started with; nobody knows who that is. */
  readonly kind: 'person' | 'service-account' | 'break-glass';
  /** Name of the issuer in the access file, `kubernetes`, or `break-glass`. */
  readonly issuer: string;
  /** Stable: `okta:00u1`, `kubernetes:ci:deployer`. */
  readonly subject: string;
  /** For people to read. Never decided on. */
  readonly login: string;
  readonly roles: readonly HeldRole[];
  /** Of a person. */
  readonly attestation?: Attestation;
  /** Of the operator's session; absent for the break-glass token. */
  readonly sessionId?: string;
}

export const BREAK_GLASS: OperatorCaller = {
  ...{ kind: 'break-glass', issuer: 'break-glass', subject: 'break-glass', login: 'break-glass', roles: [] },
};

/**
 * Decides by the table of actions.
 * @returns by which role, and what gave it: `operator access.yaml:12:7`
 * @throws MeshpassError `operator_forbidden`, naming the roles that may
 */
export function mayDo(action: OperatorAction, { kind, roles }: OperatorCaller): string {
  const { roles: needed, notInAnEmergency } = termsOf(action);
  if (kind === 'break-glass') {
    if (!notInAnEmergency) return 'break-glass';
    throw new MeshpassError(
      'operator_forbidden',
      `The break-glass token never allows ${action}: sign in as an operator with the role ${needed.join(' or ')}.`,
    );
  }
  const held = roles.find(({ role }) => needed.includes(role));
  if (held) return `${held.role} ${held.place}`;
  const has = roles.map(({ role }) => role).join(', ') || 'none';
  throw new MeshpassError(
    'operator_forbidden',
    `${action} needs the role ${needed.join(' or ')}; you have ${has}. Roles are given by "operators" of the access file.`,
  );
}

/** For a row, a file's author or a list: `mona (okta:00u1)`. */
export function nameOf({ kind, login, subject }: Pick<OperatorCaller, 'kind' | 'login' | 'subject'>): string {
  return kind === 'break-glass' ? 'whoever has the break-glass token' : `${login} (${subject})`;
}

/** All roles, for a row: `viewer access.yaml:3:7, admin access.yaml:9:7`; empty where there is none. */
export function ruleOf({ roles }: Pick<OperatorCaller, 'roles'>): string {
  return roles.map(({ role, place }) => `${role} ${place}`).join(', ');
}
