/** Defines the findings of a diagnosis. A finding contains the subject, the problem, the evidence, and the fix. */
import { type ErrorCode, errorCodeUrl, MeshpassError } from '@meshpass/identity';
import { EXIT, type ExitCode } from '../command/outcome.ts';

/**
 * The state of a finding. A `warning` means that the subject works, but with limitations. A `skipped` subject was not
 * examined.
 */
export type FindingState = 'ok' | 'warning' | 'failed' | 'unknown' | 'skipped';

export interface Finding {
  /** The name of the check. Builders leave it out: the runner adds the name of the check that ran. */
  readonly check?: string;
  readonly state: FindingState;
  readonly says: string;
  /** The file and line that caused the finding, such as `access.yaml:12`. */
  readonly place?: string;
  /** The evidence for the finding: a file, an address or a request. */
  readonly seen?: string;
  /** The error code, if the state is `failed`. */
  readonly code?: ErrorCode;
  readonly next?: string;
  /** A shell command that fixes the problem or shows more details. */
  readonly command?: string;
  /** Documented GitHub behaviour that the advice relies on and that has never been verified against github.com. */
  readonly untried?: string;
  /** Whether retrying may help. */
  readonly retryable?: boolean;
}

/** The findings of a check, which are either a single finding or a list. */
export type Findings = Finding | readonly Finding[];

export type More = Pick<Finding, 'seen' | 'command' | 'next'>;

/** Builds a finding that reports no problem. */
export function ok(says: string, seen?: string): Finding {
  return { state: 'ok', says, ...(seen !== undefined && { seen }) };
}

/** Builds a finding about something that works, but with limitations. */
export function warning(says: string, more: More = {}): Finding {
  return { state: 'warning', says, ...more };
}

/** Builds a finding about something that could not be determined. */
export function unknown(says: string, more: More = {}): Finding {
  return { state: 'unknown', says, ...more };
}

/** Builds a finding about something that was not examined. */
export function skipped(says: string): Finding {
  return { state: 'skipped', says };
}

/**
 * Builds a finding about a failure.
 * @param more overrides the default advice for the error code
 */
export function failed({ code, message: says, retryable }: MeshpassError, more: More = {}): Finding {
  return { state: 'failed', says, code, retryable, ...adviceFor(code), ...more };
}

/**
 * Builds a finding about a misconfiguration. The caller must provide evidence, and a command that fixes the problem or
 * shows more details.
 */
export function misconfigured(says: string, more: Required<Pick<More, 'seen' | 'command'>> & More): Finding {
  return failed(new MeshpassError('config_invalid', says), more);
}

/**
 * Returns the exit code for findings. Only the first failure determines whether a retry may help, because later checks
 * depend on earlier ones.
 */
export function exitCodeFor(findings: readonly Finding[]): ExitCode {
  const failure = findings.find(({ state }) => state === 'failed');
  if (failure) return failure.retryable ? EXIT.unavailable : EXIT.failed;
  return findings.some(({ state }) => state === 'unknown') ? EXIT.unknown : EXIT.ok;
}

// The following constants contain the advice for error codes, and the claims in GitHub's documentation that the checks
// rely on.

const FORWARDED = 'a new port is forwarded within seconds, even if no editor is connected';
const OPENED = "a private forwarded port answers to X-Github-Token with the Codespace's GITHUB_TOKEN";

/**
 * Documented GitHub behaviour that has never been verified against github.com. See
 * docs/decisions/0012-presence-of-a-codespace.md.
 */
const READ_ONLY: Partial<Record<ErrorCode, string>> = {
  proof_token_kind: "a Codespace's GITHUB_TOKEN begins with ghu_",
  proof_rejected: "GET /user accepts a Codespace's GITHUB_TOKEN",
  workspace_unknown: "the lists of the organization's GitHub App show every running Codespace",
  workspace_not_available: 'GitHub reports a Codespace as Available by the time postStartCommand runs',
  workspace_repository_unreachable: "a Codespace's GITHUB_TOKEN reaches its repository by GET /repos/OWNER/NAME",
  presence_unanswered: `${OPENED}; and that ${FORWARDED}`,
  presence_mismatch: 'port forwarding passes answers through unchanged',
};

const NEXT: Partial<Record<ErrorCode, string>> = {
  agent_no_identity: 'Run it in a terminal of the Codespace or from postStartCommand, or pass --proof-file.',
  agent_prebuild: 'Move meshpass up to postStartCommand.',
  agent_broker_unreachable: 'Check --broker and --ca-file, and check that this workspace can connect to the broker.',
  proof_token_kind: 'Rename the Codespaces secret that replaces GITHUB_TOKEN, and rebuild.',
  proof_rejected: 'Stop and restart the Codespace to get a new token.',
  workspace_unknown: 'Check that the GitHub App is installed in the organization and may read Codespaces.',
  workspace_not_trusted: 'Open the Codespace from a repository of the organization.',
  workspace_repository_unreachable: 'If GITHUB_TOKEN was overridden, unset it.',
  presence_unanswered:
    'Check that the port is listed as private. Set MESHPASS_PRESENCE_PORT to a port in forwardPorts of ' +
    'devcontainer.json, and try again.',
  presence_mismatch: "Set --broker to the broker's public URL, and check that nothing else uses the presence port.",
  presence_unreachable: 'Ask the platform team to allow the broker to connect to *.app.github.dev on port 443.',
  access_none: 'Ask the owner of the access file for a grant.',
};

/** Returns the advice for an error code. */
export function adviceFor(code: ErrorCode): Required<Pick<Finding, 'next'>> & Pick<Finding, 'untried'> {
  const read = READ_ONLY[code];
  return {
    next: NEXT[code] ?? `See ${errorCodeUrl(code)}.`,
    ...(read !== undefined && {
      untried: `This check relies on GitHub's documentation and has not been tested against github.com: ${read}.`,
    }),
  };
}
