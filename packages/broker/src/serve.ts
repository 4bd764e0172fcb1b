/** The broker: what it is given, what it makes, and how it starts. */
import { readFile } from 'node:fs/promises';
import { type EdgeDecision, MeshpassError } from '@meshpass/identity';
import type { Authorize } from '@meshpass/policy';
import type { Logger } from 'pino';
import { startActive } from './active.ts';
import type { Attest } from './attest/attest.ts';
import type { BrokerConfig } from './config.ts';
import { type Clock, type Random, seconds } from './instant.ts';
import type { LabOnlyBrokenStep } from './lab-only-break-revocation.ts';
import type { CertificateAuthority, MeshState, Revoker } from './mesh/contract.ts';
import type { PolicyDecisions } from './mesh/policy-decisions.ts';
import type { Feed } from './session/feed.ts';
import { openStore } from './store/open.ts';
import type { Signer } from './token/signer.ts';
import type { Pace } from './watch/pace.ts';
import type { ReadGithub } from './watch/reader.ts';

/** What the broker is built upon. */
export interface BrokerParts {
  readonly attest: Attest;
  readonly authorize: Authorize;
  readonly authority: CertificateAuthority;
  readonly revoker: Revoker;
  readonly mesh: MeshState;
  /** What becomes of each access file: it goes into the audit log. */
  readonly onPolicyDecision?: PolicyDecisions['listen'];
  /** openSigner(): made by the caller, because the mesh must know its JWKS before the broker serves. */
  readonly signer: Signer;
  /** TokenReview of an edge's bearer; absent where the edge runs in this process. */
  readonly reviewEdgeToken?: (token: string) => Promise<boolean>;
  /** Whom to ask about live sessions' Codespaces and teams, and how often one may; absent: leases alone decide. */
  readonly github?: { readonly read: ReadGithub; readonly pace: Pace };
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** readLabOnlyBrokenStep(). */
  readonly labOnlyBrokenStep?: LabOnlyBrokenStep | undefined;
}

export interface Broker {
  /** As bound: useful where the configuration says port 0. */
  readonly port: number;
  readonly operatorPort: number;
  /** For an edge in this process. */
  readonly feed: Feed;
  /** @throws MeshpassError `store_unavailable`, `overloaded` */
  readonly reportEdgeDecisions: (decisions: readonly EdgeDecision[]) => Promise<void>;
  /** Resolves when the mesh has heard of every revocation so far. */
  readonly revocationsSettled: () => Promise<void>;
  /** Stops accepting, finishes what is under way within 10 s, makes everything durable. Sessions live on. */
  readonly close: () => Promise<void>;
}

const MIN_TOKEN = 32;

/** @throws MeshpassError `config_invalid`, `store_unavailable` */
export async function serveBroker(config: BrokerConfig, parts: BrokerParts): Promise<Broker> {
  // The process before this one has ended by now; the store takes its time to open, so that agents hardly notice.
  const startedAt = seconds(parts.clock ?? Date.now);
  const operatorToken = await readToken(config.operatorTokenFile, 'operators');
  const githubEventToken = await readToken(config.githubEventTokenFile, "GitHub's audit log");
  if (githubEventToken !== undefined && !parts.github)
    throw new MeshpassError(
      'config_invalid',
      "GitHub's audit log is of use only where GitHub can be asked again: configure its App, or a token file.",
    );
  const store = await openStore(config);
  try {
    return await startActive(config, parts, { store, operatorToken, githubEventToken, startedAt });
  } catch (thrown) {
    await store.close();
    throw thrown;
  }
}

/** @param whose in words, for messages */
async function readToken(file: string | undefined, whose: string): Promise<string | undefined> {
  if (file === undefined) return undefined;
  let token: string;
  try {
    token = (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new MeshpassError('config_invalid', `The file with the token of ${whose} cannot be read.`, { cause });
  }
  if (token.length >= MIN_TOKEN) return token;
  throw new MeshpassError('config_invalid', `The token of ${whose} must have ${MIN_TOKEN} characters at least.`);
}
