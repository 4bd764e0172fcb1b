/** Advice about refusals, and the sentences of GitHub's documentation that checks rely on. */
import { errorCodeUrl } from '@meshpass/identity/documentation/url';
import type { ErrorCode } from '@meshpass/identity/error';

const FORWARDED = 'a new port is forwarded within seconds, even if no editor is connected';
const OPENED = "a private forwarded port answers to X-Github-Token with the Codespace's GITHUB_TOKEN";

/**
 * Documented behaviour that has never been tried on the real GitHub: docs/decisions/0012-presence-of-a-codespace.md.
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

export interface Advice {
  readonly next: string;
  /** Documented GitHub behaviour that has never been tried on the real GitHub. */
  readonly untried?: string;
}

/** Returns the advice for an error code. */
export function adviceFor(code: ErrorCode): Advice {
  const read = READ_ONLY[code];
  return {
    next: NEXT[code] ?? `See ${errorCodeUrl(code)}.`,
    ...(read !== undefined && {
      untried: `This check relies on GitHub's documentation and has not been tested against github.com: ${read}.`,
    }),
  };
}
