/** Inspects what a session leaves behind in Kubernetes: its ServiceAccounts, their tokens, and the root DENY policy. */
import { X509Certificate } from 'node:crypto';
import type { Svid } from '@meshpass/agent/session/enrol';
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes/access';
import { createKubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { createKubernetes } from '@meshpass/broker/mesh/kubernetes/kubernetes';
import { REVOCATIONS } from '@meshpass/broker/mesh/reconcile/revocation/deny-policy';
import { parseSpiffe } from '@meshpass/identity';
import type { DrillRow } from '@meshpass/identity/drill-report';
import { type Attempt, MESH_LIMIT_MS, row, type Verdict } from './attempt.ts';

export type Cluster = Awaited<ReturnType<typeof openCluster>>;

/** The audience that istiod uses to review a token before it signs a certificate. */
const AUDIENCE = 'istio-ca';
const TOKENS = 20;

/**
 * Connects to the cluster.
 * @throws MeshpassError `config_invalid`
 */
export async function openCluster(kubeconfig: string, rootNamespace: string) {
  const http = createKubernetesHttp(await kubeconfigAccess(kubeconfig));
  const api = createKubernetes(http);
  return {
    /** Creates tokens for the session's ServiceAccounts, and returns attempts that review them later. */
    tokenReviews: async (svids: readonly Svid[]): Promise<{ attempts: Attempt[]; rows: DrillRow[] }> => {
      const attempts: Attempt[] = [];
      const rows: DrillRow[] = [];
      for (const { spiffeId } of svids) {
        const about = {
          layer: 'TokenReview',
          tried: `token of ServiceAccount ${accountOf(spiffeId).display}`,
        } as const;
        try {
          // Kubernetes caches token reviews for ten seconds, so each review uses a new token.
          const tokens: string[] = [];
          for (let left = TOKENS; left > 0; left -= 1) {
            const token = await api.requestToken(accountOf(spiffeId), AUDIENCE);
            if (token === undefined) throw new Error('the ServiceAccount does not exist');
            tokens.push(token);
          }
          const use = async (): Promise<Verdict> => {
            const token = tokens.length > 1 ? tokens.pop()! : tokens[0]!;
            const name = await api.reviewToken(token, AUDIENCE);
            return name ? { verdict: 'taken', how: name } : { verdict: 'refused', how: 'not authenticated' };
          };
          attempts.push({ ...about, pause: MESH_LIMIT_MS / TOKENS, use });
        } catch (thrown) {
          const how = `cannot create a token with this kubeconfig (${(thrown as Error).message})`;
          rows.push(row('replays', about, 'not_tried', how));
        }
      }
      return { attempts, rows };
    },
    /**
     * Returns attempts that check whether the session's ServiceAccounts have been deleted and whether the root DENY
     * policy contains its principals.
     */
    remains: (svids: readonly Svid[]): Attempt[] =>
      svids.flatMap(({ spiffeId, chain }): Attempt[] => {
        const { namespace, name, display } = accountOf(spiffeId);
        const until = new X509Certificate(chain).validToDate.toISOString();
        return [
          {
            layer: 'ServiceAccount',
            tried: display,
            part: 'left',
            use: async () => {
              const there = (await api.list('ServiceAccount', '', namespace)).some((one) => one.metadata.name === name);
              return there ? { verdict: 'taken', how: 'it exists' } : { verdict: 'refused', how: 'deleted' };
            },
          },
          {
            layer: 'root DENY',
            tried: spiffeId,
            part: 'left',
            use: async () => {
              const policies = await api.list('AuthorizationPolicy', REVOCATIONS, rootNamespace);
              const holder = policies.find(({ spec }) =>
                JSON.stringify(spec).includes(`"${spiffeId.slice('spiffe://'.length)}"`),
              );
              return holder
                ? { verdict: 'refused', how: `in ${holder.metadata.name} until its certificate expires, ${until}` }
                : { verdict: 'taken', how: `in no policy; its certificate expires ${until}` };
            },
          },
        ];
      }),
    close: () => http.close(),
  };
}

function accountOf(spiffeId: string) {
  const { namespace, serviceAccount: name } = parseSpiffe(spiffeId)!;
  return { namespace, name, display: `${namespace}/${name}` };
}
