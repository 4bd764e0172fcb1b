/** A whole broker that asks the stand-in for GitHub, and a proxy between the two. */

import { authorize, type Grant } from '@meshpass/access';
import type { SessionResponse } from '@meshpass/identity/wire';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import type { RunningGithub } from '@meshpass/lab/github/start';
import { createAttestor } from '../../src/attest/attest.ts';
import type { GithubApiOptions, ReadGithub } from '../../src/attest/github/api.ts';
import { createGithubApp } from '../../src/attest/github/app.ts';
import { createLosses } from '../../src/attest/github/losses.ts';
import type { PresenceCheck } from '../../src/attest/presence/presence.ts';
import { createRateLimiter } from '../../src/core/watch/rate-limiter.ts';
import { labOnlyPlainHttpIssuers } from '../../src/issuers/issuer-http.ts';
import { createIssuerKeys } from '../../src/issuers/oidc/issuer-keys.ts';
import {
  type Answer,
  dpop,
  type Enrolled,
  EXCHANGE,
  FORM,
  form,
  type Harness,
  newKey,
  startHarness,
} from './broker.ts';
import { grant } from './mesh.ts';

export interface GithubHarnessOptions {
  readonly github: RunningGithub;
  readonly config?: object;
  /** Changes what GitHub answers on its way; may throw. */
  readonly onTheWay?: (url: URL, answer: Response) => Promise<Response>;
  /** Credentials of the watcher; default: the App. */
  readonly read?: (asking: GithubApiOptions) => ReadGithub;
}

export interface GithubHarness extends Harness {
  /** Losses that its brokers have recorded, in order, as stored. */
  readonly lost: readonly string[];
}

/** Tests of the watch, not of enrolment. */
const NOT_ASKED: PresenceCheck = { show: async () => 'not_asked' };

export async function startGithubHarness(options: GithubHarnessOptions): Promise<GithubHarness> {
  const lost: string[] = [];
  const { github, onTheWay = async (_, answer) => answer } = options;
  const harness = await startHarness({
    config: options.config ?? {},
    parts: (clock) => {
      const asking = {
        fetch: async (...[input, init]: Parameters<typeof fetch>) =>
          await onTheWay(new URL(String(input)), await fetch(input, init)),
        timeoutMs: 1000,
        clock: Date.now,
        [labOnlyPlainHttpIssuers]: true as const,
        url: github.url,
      };
      const rateLimiter = createRateLimiter(clock);
      const losses = createLosses(clock);
      losses.onLoss(({ fact }) => void lost.push(fact));
      const app = createGithubApp({
        ...asking,
        losses,
        appId: '4242',
        privateKey: github.appPrivateKey,
        onAnswer: rateLimiter.observe,
      });
      return {
        attest: createAttestor({
          access: () => harness.mesh.access(),
          codespaces: { api: asking, app, presence: NOT_ASKED },
          oidc: { keys: createIssuerKeys(asking), clock: Date.now },
        }),
        authorize,
        losses,
        github: {
          rateLimiter,
          read: options.read?.({ ...asking, onAnswer: rateLimiter.observe }) ?? app.request,
        },
      };
    },
  });
  return Object.assign(harness, { lost });
}

const place = { file: 'access.yaml', line: 1, column: 1 };

/** Grant for everyone who matches this one entry. */
export function grantBy(name: string, who: Omit<Grant['who'][number], 'place'>): Grant {
  return grant(name, [], { who: [{ place, ...who }] });
}

/** Sends `POST /token` with a Codespace's proof. */
export async function present(harness: Harness, space: Pick<StartedCodespace, 'token' | 'name'>, key = newKey()) {
  return await harness.call({
    method: 'POST',
    path: '/token',
    headers: { ...FORM, dpop: dpop({ key, now: harness.now() }) },
    body: form({
      grant_type: EXCHANGE,
      subject_token: space.token,
      codespace_name: space.name,
      subject_token_type: 'urn:meshpass:token-type:github-codespace',
    }),
  });
}

/** Opens a session of this Codespace. Fails if it is refused. */
export async function opened(harness: Harness, space: Pick<StartedCodespace, 'token' | 'name'>): Promise<Enrolled> {
  const key = newKey();
  const answer: Answer = await present(harness, space, key);
  if (answer.status !== 200) throw new Error(`the exchange answered ${answer.status} ${answer.text}`);
  return { ...(answer.json as SessionResponse), key };
}
