/**
 * Keeps a stream to istiod open for a grant. The stream is reopened when it ends, when its token is about to expire and
 * when istiod does not respond.
 */
import type { Message } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { messageFromJson } from '@meshpass/envoy';
import { MeshpassError, RELAY_ACCOUNT } from '@meshpass/identity';
import { pause } from '../../../base/index.ts';
import { backoff, jittered } from '../../backoff.ts';
import type { IstiodConnection } from '../../istiod/istiod.ts';
import { TOKEN_SECONDS } from '../../kubernetes/kubernetes.ts';
import { type AdsOptions, followAds } from './ads-stream.ts';

/**
 * Contains everything that is needed to get configuration from istiod, including the connection and the credentials. It
 * is provided by connect-mesh.ts.
 */
export interface RelaySource {
  /**
   * A connection that is only used for streams, so that its limits and its lifetime do not affect certificate requests.
   */
  readonly connection: IstiodConnection;
  /**
   * Requests a token for the relay's ServiceAccount in the namespace of a grant.
   * @throws MeshpassError `kubernetes_unavailable`
   */
  readonly token: (namespace: string, signal: AbortSignal) => Promise<string>;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  /** The request header that carries the identity token. */
  readonly tokenHeader: string;
}

export interface FollowOptions extends Pick<AdsOptions, 'wants' | 'onResources'> {
  /** The grant's namespace, `meshpass-GRANT`. */
  readonly namespace: string;
  readonly source: Pick<RelaySource, 'connection' | 'token' | 'clusterDomain'>;
  readonly onFailure: (cause: unknown) => void;
}

export type FollowHandle = ReturnType<typeof followGrant>;

/** The maximum age of a stream, in milliseconds. A stream must not outlive its token. */
const STREAM_MS = (TOKEN_SECONDS - 60) * 1_000;
/**
 * The timeout for the first response, in milliseconds. istiod usually responds within a second, but it may take longer
 * in a large mesh.
 */
const FIRST_ANSWER_MS = 30_000;
const SILENT = 'it accepted the stream but sent nothing';

/**
 * Starts following the configuration of a grant. Failures are reported and retried. Resources that have been delivered
 * stay valid in the meantime.
 */
export function followGrant(options: FollowOptions) {
  const stopping = new AbortController();
  let attempt = new AbortController();
  let failures = 0;

  const once = async (signal: AbortSignal): Promise<void> => {
    const { namespace, source } = options;
    const token = await source.token(namespace, signal);
    const transport = source.connection.transport();
    if (!transport) throw unavailable('the mesh roots are not known yet');
    const silent = setTimeout(() => attempt.abort(SILENT), FIRST_ANSWER_MS);
    const old = setTimeout(() => attempt.abort(), jittered(STREAM_MS));
    try {
      await followAds({
        transport,
        token,
        signal,
        wants: options.wants,
        node: relayNode(namespace, source.clusterDomain),
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
      await pause(backoff(failures++), stopping.signal);
    }
  };

  void follow();
  return {
    /** Reopens the stream and requests everything again. Call this when a different set of clusters is needed. */
    restart: () => attempt.abort(),
    stop: () => stopping.abort(),
  };
}

/** Reduces an error to istiod's message and leaves out anything that comes from the request. */
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

// The relay identifies itself to istiod as an Envoy node that is a sidecar in the grant's namespace. None of these
// values come from a workspace.

/**
 * An address that is reserved for documentation (RFC 5737). Pods and Services never have it, so istiod cannot mistake
 * the relay for one of them.
 */
const ADDRESS = '203.0.113.10';
/**
 * The Istio version that the relay claims to have. istiod does not use features that sidecars of this version do not
 * understand.
 */
const ISTIO_VERSION = '1.31.0';

/**
 * Builds the Envoy node that identifies the relay to istiod.
 * @param namespace the grant's namespace, `meshpass-GRANT`
 */
function relayNode(namespace: string, clusterDomain: string): Message {
  return messageFromJson('envoy.config.core.v3.Node', {
    id: `sidecar~${ADDRESS}~${RELAY_ACCOUNT}.${namespace}~${namespace}.svc.${clusterDomain}`,
    cluster: `${RELAY_ACCOUNT}.${namespace}`,
    metadata: {
      NAMESPACE: namespace,
      SERVICE_ACCOUNT: RELAY_ACCOUNT,
      // The relay does not actually intercept traffic, but in this mode, istiod creates one listener per service
      // instead of one per port number.
      INTERCEPTION_MODE: 'REDIRECT',
      CLUSTER_ID: 'Kubernetes',
      LABELS: { app: RELAY_ACCOUNT },
      INSTANCE_IPS: ADDRESS,
      ISTIO_VERSION,
    },
  });
}
