/** Types that describe a verified proof. They contain only facts the broker has verified, never a client's claims. */

/** Subject token types (RFC 8693 section 3) that the broker accepts, including a custom type for Codespaces. */
export const PROOF_TYPES = {
  /** OIDC ID token of an allowed issuer. */
  oidc: 'urn:ietf:params:oauth:token-type:id_token',
  /** A Codespace's GITHUB_TOKEN, sent with the parameter `codespace_name`. */
  codespace: 'urn:meshpass:token-type:github-codespace',
} as const;

/** Subject token type of a live session's token. It can be exchanged for identity tokens and ID tokens. */
export const SESSION_TOKEN_TYPE = 'urn:meshpass:token-type:session';
/** Token type of an operator session. */
export const OPERATOR_SESSION_TYPE = 'urn:meshpass:token-type:operator-session';
/** Token types of RFC 8693 section 3. */
export const ID_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:id_token';
export const JWT_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:jwt';

export type Proof =
  | { readonly type: 'oidc'; readonly token: string }
  | {
      readonly type: 'github-codespace';
      readonly token: string;
      readonly codespaceName: string;
      /** ID token from a sign-in, sent along with the proof. */
      readonly signIn?: { readonly issuer: string; readonly token: string };
    };

/** Workspace of a session. GitHub ids identify it. Names are for display only and may change. */
export interface Workspace {
  readonly kind: 'codespace' | 'actions' | 'other';
  /**
   * Stable key, e.g. `codespace:8412` or `actions:REPOSITORY_ID:RUN_ID:RUN_ATTEMPT`. At most one live session exists
   * per key.
   */
  readonly key: string;
  readonly name: string;
  readonly repository?: { readonly id: number; readonly fullName: string; readonly ownerId: number };
  readonly ref?: string;
}

/** A person's sign-in at an issuer listed in the access file, as read from the ID token. Times are in Unix seconds. */
export interface SignIn {
  /** Issuer name in `trust.issuers`. */
  readonly issuer: string;
  /** Stable subject, in the same format as `Attestation.subject`. */
  readonly subject: string;
  /** Display name, never used for decisions. */
  readonly login: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** When the person authenticated (`auth_time`), if the issuer reports it. */
  readonly authTime?: number;
  /** Authentication methods (RFC 8176). Empty if the issuer does not list any. */
  readonly amr: readonly string[];
  /** Session id (`sid`) at the issuer (OpenID Connect Back-Channel Logout 1.0). */
  readonly sid?: string;
  /** Time when the session received the sign-in. */
  readonly since: number;
  /** `iat` of the newest ID token. */
  readonly confirmedAt: number;
  /** When the sign-in expires, unless a newer ID token confirms it. */
  readonly until: number;
  /** Maximum seconds between ID tokens. If absent, the sign-in ends when its ID token expires. */
  readonly confirm?: number;
  /** Whether the sign-in has already been extended once by a broker that took over. */
  readonly graced?: true;
}

/** Sign-in of this session that the provider has ended. A token from the same authentication cannot restore it. */
export interface EndedSignIn extends Pick<SignIn, 'issuer' | 'subject' | 'sid'> {
  /** `iat` of the logout token, Unix seconds. */
  readonly signedOutAt: number;
}

export interface Attestation {
  readonly attestor: 'github-codespace' | 'oidc';
  /** Issuer name in the access file (`trust.issuers` key), or `github` for Codespaces. */
  readonly issuer: string;
  /**
   * Stable subject within the issuer, e.g. `github:583231`. Never contains `/`, because Istio splits request principals
   * at that character.
   */
  readonly subject: string;
  /** Short name for display and for the ServiceAccount: GitHub login or e-mail local part. */
  readonly login: string;
  /** Present if the subject is a GitHub user. */
  readonly githubUser?: { readonly id: number; readonly login: string };
  /**
   * Teams whose membership was queried and confirmed by GitHub: `ORG/SLUG` in lower case, or `ORG/#ID` if the access
   * file refers to the team by id.
   */
  readonly teams: readonly string[];
  /** Existing teams that do not include the user according to GitHub, in the same format. */
  readonly notInTeams?: readonly string[];
  /** Roles that were queried and confirmed by GitHub: `ORG/admin` and `ORG/member` in lower case. */
  readonly organizationRoles?: readonly string[];
  /** Verified claims from the proof (OIDC) or from GitHub's responses. CEL expressions see them as `claims`. */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly workspace: Workspace;
  /** Sign-ins of the session in addition to its proof, one per issuer. */
  readonly signIns?: readonly SignIn[];
  /** Latest sign-in per issuer that the provider has ended. */
  readonly endedSignIns?: readonly EndedSignIn[];
  /** Whether the proof itself was such a sign-in. If so, the session ends when the sign-in ends. */
  readonly provenBySignIn?: true;
  /** SHA-256 of the proof, hex. The proof itself is never stored. */
  readonly proofHash: string;
  /** When the proof itself expires, Unix seconds. Absent if it does not expire. */
  readonly proofExpiresAt?: number;
}
