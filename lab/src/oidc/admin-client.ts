/** Typed clients of both issuers' Lab-only admin APIs. */
import { type AdminOptions, adminCall } from '../stand-in/admin-call.ts';
import type { Forgery } from './forge.ts';
import type { SigningAlgorithm } from './keys.ts';

export interface IdTokenRequest {
  /** `sub`; a person of the directory brings e-mail and groups along. */
  readonly subject: string;
  /** Claims in addition to, or instead of, those of the token. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** `meshpass` without it. */
  readonly audience?: string | string[];
  readonly alg?: SigningAlgorithm;
  /** Bad in this way. */
  readonly forgery?: Forgery;
  /** For `key-url-in-header`. */
  readonly attackerUrl?: string;
}

/** Job of a workflow run. Defaults: a push to `main` of acme/payments-api by alice. */
export interface ActionsJob {
  readonly repositoryOwner?: { readonly name: string; readonly id: number };
  readonly repository?: { readonly name: string; readonly id: number };
  readonly actor?: { readonly login: string; readonly id: number };
  readonly ref?: string;
  readonly event?: 'push' | 'pull_request' | 'workflow_dispatch' | 'schedule';
  readonly environment?: string;
  readonly workflow?: string;
  readonly reusableWorkflowRef?: string;
  readonly runId?: number;
  readonly runAttempt?: number;
  /** Id of its check run, and of the job in GitHub's API; null: the token has none, as on older servers. */
  readonly checkRunId?: number | null;
  /** The `sub` of repositories made after July 2026: `repo:OWNER@ID/REPO@ID:...`. */
  readonly immutableSubject?: boolean;
}

export interface ActionsTokenRequest {
  readonly audience: string;
  readonly job?: ActionsJob;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly forgery?: Forgery;
  readonly attackerUrl?: string;
}

/** The two variables of a job with `permissions: id-token: write`. */
export interface ActionsEnvironment {
  readonly ACTIONS_ID_TOKEN_REQUEST_URL: string;
  readonly ACTIONS_ID_TOKEN_REQUEST_TOKEN: string;
}

export type IdpAdmin = ReturnType<typeof idpAdmin>;
/** Shared by both company providers. */
export type ProviderAdmin = Omit<IdpAdmin, 'idToken' | 'rotateKeys'>;
export type ActionsAdmin = ReturnType<typeof actionsAdmin>;

/** @param url of the company's provider */
export function idpAdmin(url: string, options: AdminOptions = {}) {
  const call = adminCall(url, options);
  return {
    idToken: async (request: IdTokenRequest) =>
      (await call<{ token: string }>('POST', '/_lab_only_admin/id-token', request)).token,
    rotateKeys: (keepOld: boolean) => call<void>('POST', '/_lab_only_admin/rotate', { keepOld }),
    /** Whether connections drop without an answer. */
    setDown: (down: boolean) => call<void>('PUT', '/_lab_only_admin/fault', { down }),
    /** Disables this person: they cannot sign in, and their refresh tokens are refused. */
    disable: (subject: string) => call<void>('PUT', '/_lab_only_admin/disabled', { subject, disabled: true }),
    enable: (subject: string) => call<void>('PUT', '/_lab_only_admin/disabled', { subject, disabled: false }),
    /** Logout endpoint of a client, and the root (PEM) of its certificate. */
    setBackchannel: (client: string, uri: string, ca?: string) =>
      call<void>('PUT', '/_lab_only_admin/backchannel', { client, uri, ca }),
    /** `METHOD /path` of each request since the last forgetRequests. */
    requests: () => call<string[]>('GET', '/_lab_only_admin/requests'),
    forgetRequests: () => call<void>('DELETE', '/_lab_only_admin/requests'),
  };
}

/** @param url of the Actions issuer */
export function actionsAdmin(url: string, options: AdminOptions = {}) {
  const call = adminCall(url, options);
  return {
    startJob: (job: ActionsJob = {}) => call<ActionsEnvironment>('POST', '/_lab_only_admin/jobs', job),
    idToken: async (request: ActionsTokenRequest) =>
      (await call<{ token: string }>('POST', '/_lab_only_admin/id-token', request)).token,
    rotateKeys: (keepOld: boolean) => call<void>('POST', '/_lab_only_admin/rotate', { keepOld }),
  };
}
