/**
 * Keeps a stream to istiod open for a grant. It is reopened when it ends, when its token expires, and when istiod does
 * not respond.
 */
import { Code, ConnectError } from '@connectrpc/connect';
import { MeshpassError } from '@meshpass/identity';
import { pause } from '../../../base/index.ts';
import type { IstiodConnection } from '../../istiod/connection.ts';
import type { RawResources } from '../transform/resources.ts';
import { followAds } from './ads-stream.ts';
import { relayNode } from './node.ts';

export interface FollowOptions {
  /** `meshpass-GRANT`. */
  readonly namespace: string;
  readonly clusterDomain: string;
  readonly connection: IstiodConnection;
  /** Requests a new token of the relay's ServiceAccount in the namespace, valid for `TOKEN_SECONDS`. */
  readonly token: (namespace: string, signal: AbortSignal) => Promise<string>;
  /** Whether a cluster, by istiod's name, is needed. */
  readonly wants: (cluster: string) => boolean;
  readonly onResources: (resources: RawResources) => void;
  readonly onFailure: (cause: unknown) => void;
  /** Random number from 0 to 1. */
  readonly random: () => number;
}

export type Following = ReturnType<typeof followGrant>;

/** Minimum token lifetime in Kubernetes, seconds. */
export const TOKEN_SECONDS = 600;
/** Maximum age of a stream, ms. It must not outlive its token. */
const STREAM_MS = 540_000;
/** Timeout of the first response. istiod usually responds within a second; a large mesh may take longer. */
const FIRST_ANSWER_MS = 30_000;
const SILENT = 'it accepted the stream but sent nothing';
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/** Starts following. Never rejects. Resources already delivered remain valid. */
export function followGrant(options: FollowOptions) {
  const stopping = new AbortController();
  let attempt = new AbortController();
  let failures = 0;

  const once = async (signal: AbortSignal): Promise<void> => {
    const { namespace, connection } = options;
    const token = await options.token(namespace, signal);
    const transport = connection.transport();
    if (!transport) throw unavailable('the mesh roots are not known yet');
    const silent = setTimeout(() => attempt.abort(SILENT), FIRST_ANSWER_MS);
    const old = setTimeout(() => attempt.abort(), STREAM_MS * (0.9 + 0.1 * options.random()));
    try {
      await followAds({
        transport,
        token,
        signal,
        wants: options.wants,
        node: relayNode(namespace, options.clusterDomain),
        onResources: (resources) => {
          clearTimeout(silent);
          failures = 0;
          if (!signal.aborted) options.onResources(resources);
        },
      });
    } finally {
      clearTimeout(silent);
      clearTimeout(old);
    }
  };

  const follow = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      attempt = new AbortController();
      const signal = AbortSignal.any([attempt.signal, stopping.signal]);
      try {
        await once(signal);
      } catch (thrown) {
        if (signal.aborted && attempt.signal.reason !== SILENT) continue;
        options.onFailure(signal.aborted ? unavailable(SILENT) : shown(thrown));
      }
      failures += 1;
      const wait = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS) * (0.5 + options.random());
      await pause(wait, stopping.signal);
    }
  };

  void follow();
  return {
    /** Reopens the stream and requests everything again, because the needed clusters have changed. */
    restart: () => attempt.abort(),
    stop: () => stopping.abort(),
  };
}

/** Reduces an error to istiod's message, omitting everything from the request. */
function shown(thrown: unknown): unknown {
  if (thrown instanceof MeshpassError) return thrown;
  const error = ConnectError.from(thrown);
  return unavailable(`${Code[error.code]}: ${error.rawMessage}`.slice(0, 500));
}

function unavailable(said: string): MeshpassError {
  return new MeshpassError('configuration_unavailable', 'istiod is not responding. The last configuration stays.', {
    detail: { said },
    retryAfter: 2,
  });
}
