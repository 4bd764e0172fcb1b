/** Describes operators and checks which actions they may perform. */
import type { OperatorRole } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { actionRequirements, type OperatorAction } from './actions.ts';

/** A role, together with the position in the access file that assigns it, such as `access.yaml:12:7`. */
export interface AssignedRole {
  readonly role: OperatorRole;
  readonly place: string;
}

/**
 * An operator's session, either in the CLI, which authenticates with a token that contains the session, or in a
 * browser. All fields are listed, so that a token from another version is rejected instead of being read as a session
 * that never ends.
 */
export const OperatorSession = z.object({
  id: z.string(),
  kind: z.enum(['person', 'service-account']),
  /** The issuer's name in the access file, or `kubernetes`. */
  issuer: z.string(),
  /** A stable identity, such as `okta:00u1` or `kubernetes:ci:deployer`. */
  subject: z.string(),
  /** The display name, which is never used to make decisions. */
  login: z.string(),
  /** The person's attestation. Absent for ServiceAccounts. */
  attestation: z.custom<Attestation>((value) => typeof value === 'object' && value !== null).optional(),
  source: z.string().optional(),
  /** When the session was opened, in Unix milliseconds. */
  openedAt: z.number(),
  /** When the session expires, in Unix seconds. */
  expiresAt: z.number(),
  /** When the issuer last confirmed the person, in Unix seconds. */
  confirmedAt: z.number(),
  /** The thumbprint of the CLI's key, or the value that binds the session to the browser that signed in. */
  jkt: z.string(),
});
export type OperatorSession = Readonly<z.infer<typeof OperatorSession>>;

/** An authenticated operator. */
export interface OperatorCaller extends Pick<OperatorSession, 'issuer' | 'subject' | 'login' | 'attestation'> {
  /**
   * The kind of caller. `break-glass` stands for an anonymous caller with the token that the broker was started with.
   */
  readonly kind: OperatorSession['kind'] | 'break-glass';
  readonly roles: readonly AssignedRole[];
  /** Absent if the caller used the break-glass token. */
  readonly session?: OperatorSession;
}

/** A caller with the break-glass token. */
export const BREAK_GLASS_CALLER: OperatorCaller = {
  kind: 'break-glass',
  issuer: 'break-glass',
  subject: 'break-glass',
  login: 'break-glass',
  roles: [],
};

/**
 * Checks that a caller may perform an action.
 * @returns the role that permits the action, followed by its position, such as `operator access.yaml:12:7`
 * @throws MeshpassError `operator_forbidden`, with a message that lists the permitted roles
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

/** Whether `authorizeAction()` permits the caller to perform the action. */
export function may(caller: OperatorCaller, action: OperatorAction): boolean {
  try {
    return authorizeAction(action, caller) !== '';
  } catch {
    return false;
  }
}

/** Formats an operator's name for audit rows, authors and lists. Returns text such as `mona (okta:00u1)`. */
export function nameOf({ kind, login, subject }: Pick<OperatorCaller, 'kind' | 'login' | 'subject'>): string {
  return kind === 'break-glass' ? 'the holder of the break-glass token' : `${login} (${subject})`;
}

/**
 * Formats an operator's roles for an audit row, as in `viewer access.yaml:3:7, admin access.yaml:9:7`. Returns an empty
 * string if there are none.
 */
export function formatRoles({ roles }: Pick<OperatorCaller, 'roles'>): string {
  return roles.map(({ role, place }) => `${role} ${place}`).join(', ');
}
