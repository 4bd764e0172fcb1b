/** Finds a proof of this workspace's identity, and combines it with sign-ins. */
import { readFileSync } from 'node:fs';
import { MeshpassError, type Proof, parseJson, toMeshpassError } from '@meshpass/identity';
import { requestActionsToken } from './actions-token.ts';

/**
 * The directory in which a Codespace stores its shell environment. Some processes are started without that environment.
 */
export const CODESPACES_SHARED = '/workspaces/.codespaces/shared';

export interface HostEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** @returns the text, or undefined if the file does not exist or cannot be read */
  readonly readText: (path: string) => string | undefined;
  /** The directory that contains the Codespace's shared environment files. */
  readonly sharedDirectory: string;
}

export interface DiscoverOptions {
  /** A file that contains an OIDC ID token. It takes precedence over the environment. */
  readonly proofFile?: string | undefined;
  /** The audience of the token that is requested from GitHub Actions. */
  readonly audience: string;
}

/** The ID token of a sign-in that no session has used yet. */
export interface WaitingSignIn {
  readonly issuer: string;
  readonly token: string;
}

/**
 * A source of identity proofs. Proofs are short-lived and can only be used once, so a new one is obtained for each
 * enrolment.
 */
export interface ProofSource {
  readonly kind: 'codespace' | 'actions' | 'file' | 'sign-in';
  proof(): Promise<Proof>;
}

/** The environment and files of this process. */
export const hostEnvironment: HostEnvironment = {
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
 * Selects the source of identity proofs, and combines it with sign-ins. A sign-in is either added to the proof of a
 * Codespace, or replaces the workspace's proof if there is none.
 * @param options.signIn the issuer at which the user signs in before the session is opened
 * @param takeSignIn returns each sign-in once, so that it is not sent again after a session includes it
 * @throws MeshpassError agent_prebuild, agent_no_identity
 */
export function selectProofSource(
  options: DiscoverOptions & { readonly signIn?: string | undefined },
  surroundings: HostEnvironment,
  takeSignIn: () => WaitingSignIn | undefined,
): ProofSource {
  let source: ProofSource;
  try {
    source = discoverProofSource(options, surroundings);
  } catch (thrown) {
    if (options.signIn === undefined || toMeshpassError(thrown).code !== 'agent_no_identity') throw thrown;
    return signInSource(options.signIn, takeSignIn);
  }
  if (source.kind !== 'codespace') return source;
  return {
    kind: source.kind,
    proof: async () => {
      const proof = await source.proof();
      const signIn = takeSignIn();
      return signIn && proof.type === 'github-codespace' ? { ...proof, signIn } : proof;
    },
  };
}

function signInSource(issuer: string, takeSignIn: () => WaitingSignIn | undefined): ProofSource {
  return {
    kind: 'sign-in',
    proof: async () => {
      const waiting = takeSignIn();
      if (waiting) return { type: 'oidc', token: waiting.token };
      throw new MeshpassError(
        'sign_in_required',
        `A new session requires a new sign-in at ${issuer}: run meshpass sign-in --issuer ${issuer}.`,
      );
    },
  };
}

/**
 * Selects the source of identity proofs: a proof file, a Codespace or a GitHub Actions job, in this order.
 * @throws MeshpassError agent_prebuild, agent_no_identity
 */
export function discoverProofSource(
  options: DiscoverOptions,
  surroundings: HostEnvironment = hostEnvironment,
): ProofSource {
  const { env } = surroundings;
  if (options.proofFile !== undefined) return proofFile(options.proofFile, surroundings);

  const shared = readShared(surroundings);
  const look = (name: string) => env[name] || shared.get(name);
  const requestUrl = env.ACTIONS_ID_TOKEN_REQUEST_URL;
  if (look('CODESPACES') === 'true' || look('CODESPACE_NAME')) {
    if (requestUrl || shared.has('ACTIONS_ID_TOKEN_REQUEST_URL')) {
      throw new MeshpassError(
        'agent_prebuild',
        'This is a prebuild: its disk is cloned to many developers, so it receives no identity. ' +
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
      ? 'This job has no permission to prove its identity: add "permissions: {id-token: write}" to the workflow.'
      : 'This workspace has no proof of identity: it is neither a Codespace nor a GitHub Actions job. ' +
          'Provide a file with an OIDC ID token with --proof-file.',
  );
}

function codespace(token: string | undefined, name: string | undefined, surroundings: HostEnvironment): ProofSource {
  if (!token || !name) {
    throw new MeshpassError(
      'agent_no_identity',
      `This Codespace does not provide its ${token ? 'CODESPACE_NAME' : 'GITHUB_TOKEN'}, in the environment or in ` +
        `${surroundings.sharedDirectory}. Run meshpass from a terminal in the Codespace or from postStartCommand.`,
    );
  }
  return {
    kind: 'codespace',
    // Every start of the Codespace writes a new token to the files, so they are newer than the environment of an old
    // process.
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
    proof: async () => ({ type: 'oidc', token: await requestActionsToken(requestUrl, requestToken, audience) }),
  };
}

function proofFile(path: string, surroundings: HostEnvironment): ProofSource {
  return {
    kind: 'file',
    proof: async () => {
      const token = surroundings.readText(path)?.trim();
      if (!token) throw new MeshpassError('agent_no_identity', `${path} does not contain an ID token.`);
      return { type: 'oidc', token };
    },
  };
}

/**
 * Reads `environment-variables.json`, `.env` (NAME=VALUE) and `.env-secrets` (NAME=BASE64). Later files take precedence
 * over earlier ones.
 */
function readShared(surroundings: HostEnvironment): Map<string, string> {
  const found = new Map<string, string>();
  const read = (name: string) => surroundings.readText(`${surroundings.sharedDirectory}/${name}`);
  // If this file is incomplete, the other files contain the same variables.
  const variables = (parseJson(read('environment-variables.json') ?? '') ?? {}) as object;
  for (const [name, value] of Object.entries(variables)) if (typeof value === 'string') found.set(name, value);
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
