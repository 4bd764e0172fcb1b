/** An operator's identity and permissions. */
import type { OperatorRole } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { actionRequirements, type OperatorAction } from './actions.ts';

/** A role and the position in the access file that assigns it, such as `access.yaml:12:7`. */
export interface AssignedRole {
  readonly role: OperatorRole;
  readonly place: string;
}

/** An operator session, either of the command (proved by a token) or of a browser on the page. */
export interface OperatorSession {
  readonly id: string;
  readonly kind: 'person' | 'service-account';
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  /** The person's attestation; absent for ServiceAccounts. */
  readonly attestation?: Attestation;
  readonly source?: string | undefined;
  /** Unix ms. */
  readonly openedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** When the issuer last confirmed the person, Unix seconds. */
  readonly confirmedAt: number;
  /** Thumbprint of the command's key, or the secret binding of a browser's sign-in. */
  readonly jkt: string;
}

/** Authenticated operator. */
export interface OperatorCaller {
  /** `break-glass` means an anonymous caller with the token that the broker was started with. */
  readonly kind: 'person' | 'service-account' | 'break-glass';
  /** Name of the issuer in the access file, `kubernetes`, or `break-glass`. */
  readonly issuer: string;
  /** Stable identity, such as `okta:00u1` or `kubernetes:ci:deployer`. */
  readonly subject: string;
  /** Display name. Never used for decisions. */
  readonly login: string;
  readonly roles: readonly AssignedRole[];
  /** The person's attestation; absent for other callers. */
  readonly attestation?: Attestation | undefined;
  /** Absent for the break-glass token. */
  readonly session?: OperatorSession;
}

/** Caller that uses the break-glass token. */
export const BREAK_GLASS_CALLER: OperatorCaller = {
  kind: 'break-glass',
  issuer: 'break-glass',
  subject: 'break-glass',
  login: 'break-glass',
  roles: [],
};

/**
 * Checks an action against the table of actions.
 * @returns the role that permits the action, with its position, such as `operator access.yaml:12:7`
 * @throws MeshpassError `operator_forbidden` with the permitted roles
 */
export function authorizeAction(action: OperatorAction, { kind, roles }: OperatorCaller): string {
  const { roles: needed, notInAnEmergency, onlyPeople } = actionRequirements(action);
  if (kind === 'break-glass') {
    if (!notInAnEmergency && !onlyPeople) return 'break-glass';
    throw new MeshpassError(
      'operator_forbidden',
      `The break-glass token does not allow ${action}: sign in as an operator with the role ${needed.join(' or ')}.`,
    );
  }
  if (kind === 'service-account' && onlyPeople)
    throw new MeshpassError(
      'operator_forbidden',
      `${action} is only for people, not for ServiceAccounts. A person with the role ${needed.join(' or ')} must sign in.`,
    );
  const held = roles.find(({ role }) => needed.includes(role));
  if (held) return `${held.role} ${held.place}`;
  const has = roles.map(({ role }) => role).join(', ') || 'none';
  throw new MeshpassError(
    'operator_forbidden',
    `${action} requires the role ${needed.join(' or ')}, but you have ${has}. The access file grants roles under "operators".`,
  );
}

/** Whether authorizeAction() permits the action. */
export function may(caller: OperatorCaller, action: OperatorAction): boolean {
  try {
    return authorizeAction(action, caller) !== '';
  } catch {
    return false;
  }
}

/** Formats an operator for audit rows, authors and lists: `mona (okta:00u1)`. */
export function nameOf({ kind, login, subject }: Pick<OperatorCaller, 'kind' | 'login' | 'subject'>): string {
  return kind === 'break-glass' ? 'the holder of the break-glass token' : `${login} (${subject})`;
}

/** Formats all roles for an audit row: `viewer access.yaml:3:7, admin access.yaml:9:7`; empty if there are no roles. */
export function formatRoles({ roles }: Pick<OperatorCaller, 'roles'>): string {
  return roles.map(({ role, place }) => `${role} ${place}`).join(', ');
}
