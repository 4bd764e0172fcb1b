/** Finds the proof of who this workspace is, without being told anything. */
import { readFileSync } from 'node:fs';
import type { Proof } from '@meshpass/identity/attestation';
import { MeshpassError } from '@meshpass/identity/error';
import { requestActionsToken } from './actions-token.ts';

/** Where a Codespace keeps what its shells get as environment; some processes start without it. */
export const CODESPACES_SHARED = '/workspaces/.codespaces/shared';

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** @returns the text, or undefined where there is no such file or no right to it */
  readonly readText: (path: string) => string | undefined;
  /** Directory of the Codespaces shared environment files. */
  readonly sharedDirectory: string;
}

export interface DiscoverOptions {
  /** File that holds an OIDC ID token; it wins over what the surroundings say. */
  readonly proofFile?: string | undefined;
  /** `aud` to ask GitHub Actions for. */
  readonly audience: string;
}

/** A way to a proof. Asked again at every enrolment, because proofs are short-lived and used once. */
export interface ProofSource {
  readonly kind: 'codespace' | 'actions' | 'file' | 'sign-in';
  proof(): Promise<Proof>;
}

export const realSurroundings: Surroundings = {
  env: process.env,
  readText: (path) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  },
  sharedDirectory: CODESPACES_SHARED,
};

/**
 * Looks for, in this order: a proof file, a Codespace, a job of GitHub Actions.
 * @throws MeshpassError agent_prebuild, agent_no_identity
 */
export function discover(options: DiscoverOptions, surroundings: Surroundings = realSurroundings): ProofSource {
  const { env } = surroundings;
  if (options.proofFile !== undefined) return proofFile(options.proofFile, surroundings);

  const shared = readShared(surroundings);
  const look = (name: string) => env[name] || shared.get(name);
  const requestUrl = env.ACTIONS_ID_TOKEN_REQUEST_URL;
  if (look('CODESPACES') === 'true' || look('CODESPACE_NAME')) {
    if (requestUrl || shared.has('ACTIONS_ID_TOKEN_REQUEST_URL')) {
      throw new MeshpassError(
        'agent_prebuild',
        'This is a prebuild: its disk is cloned to many developers, so it gets no identity. ' +
          'Start meshpass from postStartCommand, which runs in each Codespace and never in a prebuild.',
      );
    }
    return codespace(look('GITHUB_TOKEN'), look('CODESPACE_NAME'), surroundings);
  }
  const requestToken = env.ACTIONS_ID_TOKEN_REQUEST_TOKEN;
  if (requestUrl && requestToken) return actions(requestUrl, requestToken, options.audience);
  throw new MeshpassError(
    'agent_no_identity',
    env.GITHUB_ACTIONS === 'true'
      ? 'This job has no permission to prove who it is: add "permissions: {id-token: write}" to the workflow.'
      : 'Nothing here says who you are: this is neither a Codespace nor a job of GitHub Actions. ' +
          'Give the file of an OIDC ID token with --proof-file.',
  );
}

function codespace(token: string | undefined, name: string | undefined, surroundings: Surroundings): ProofSource {
  if (!token || !name) {
    throw new MeshpassError(
      'agent_no_identity',
      `This Codespace does not show its ${token ? 'CODESPACE_NAME' : 'GITHUB_TOKEN'}, neither in the environment nor in ` +
        `${surroundings.sharedDirectory}. Run meshpass from a terminal of the Codespace or from postStartCommand.`,
    );
  }
  return {
    kind: 'codespace',
    // The token is written anew at every start; the files are newer than the environment of an old process.
    proof: async () => ({
      type: 'github-codespace',
      token: readShared(surroundings).get('GITHUB_TOKEN') || token,
      codespaceName: name,
    }),
  };
}

function actions(requestUrl: string, requestToken: string, audience: string): ProofSource {
  return {
    kind: 'actions',
    proof: async () => {
      const url = new URL(requestUrl);
      url.searchParams.set('audience', audience);
      let value: unknown;
      try {
        value = await requestActionsToken(url, requestToken);
      } catch (cause) {
        throw new MeshpassError('issuer_unavailable', 'GitHub Actions did not give this job an ID token; try again.', {
          cause,
        });
      }
      if (typeof value !== 'string') throw new MeshpassError('issuer_unavailable', 'GitHub Actions gave no ID token.');
      return { type: 'oidc', token: value };
    },
  };
}

function proofFile(path: string, surroundings: Surroundings): ProofSource {
  return {
    kind: 'file',
    proof: async () => {
      const token = surroundings.readText(path)?.trim();
      if (!token) throw new MeshpassError('agent_no_identity', `There is no ID token in ${path}.`);
      return { type: 'oidc', token };
    },
  };
}

/** `environment-variables.json`, `.env` (NAME=VALUE) and `.env-secrets` (NAME=BASE64), later ones win. */
function readShared(surroundings: Surroundings): Map<string, string> {
  const found = new Map<string, string>();
  const read = (name: string) => surroundings.readText(`${surroundings.sharedDirectory}/${name}`);
  try {
    for (const [name, value] of Object.entries(JSON.parse(read('environment-variables.json') ?? '{}') as object)) {
      if (typeof value === 'string') found.set(name, value);
    }
  } catch {
    // Half written: the other files say the same.
  }
  for (const [name, value] of assignments(read('.env'))) found.set(name, value.replace(/^(["'])(.*)\1$/, '$2'));
  for (const [name, value] of assignments(read('.env-secrets'))) {
    const plain = Buffer.from(value, 'base64').toString('utf8');
    if (plain) found.set(name, plain);
  }
  return found;
}

function* assignments(text: string | undefined): Generator<readonly [string, string]> {
  for (const line of (text ?? '').split('\n')) {
    const match = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*$/.exec(line);
    if (match) yield [match[1]!, match[2]!];
  }
}
