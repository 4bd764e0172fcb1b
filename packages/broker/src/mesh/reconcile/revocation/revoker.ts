/**
 * Revokes principals in Kubernetes and Istio. When a session ends, a root DENY policy rejects its principals until
 * their last SVID has expired, and their ServiceAccounts are deleted so that no further SVIDs can be issued.
 */
import { formatSpiffe, grantNamespace, parseSpiffe, RELAY_ACCOUNT } from '@meshpass/identity';
import type { Kubernetes, ListedObject } from '../../kubernetes/kubernetes.ts';
import { createDenyPolicies, denyPolicy, OURS } from './deny-policy.ts';
import { createEndedSessionPolicies, type EndedSessionPoliciesOptions } from './ended-sessions.ts';

/** An identity that a session has in the mesh. */
export interface MeshPrincipal {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
}

/** A principal of a session that has ended. */
export interface RevokedPrincipal extends MeshPrincipal {
  /**
   * When the principal's last SVID and the session's last token will have expired, in Unix seconds. The root DENY
   * policy lists the principal until then.
   */
  readonly until: number;
  /**
   * The session ID, which is only present if the entire session has ended. In that case, its tokens are rejected no
   * matter who presents them.
   */
  readonly sessionId?: string | undefined;
  /**
   * Whether the principal's access ended without a DENY policy (core/session/deny/ended.ts). Even in this case, no more
   * certificates are signed for it, and its ServiceAccount is deleted.
   */
  readonly undenied?: boolean | undefined;
}

export interface RevokerOptions extends EndedSessionPoliciesOptions {
  readonly kubernetes: Pick<Kubernetes, 'apply' | 'remove' | 'list' | 'deleteServiceAccount'>;
  readonly trustDomain: string;
}

const NAME = 'meshpass-revoked';
const ORPHAN_AGE_SECONDS = 120;
const DELETIONS_AT_ONCE = 8;

/** Creates the revoker, which keeps track of all revoked principals. */
export function createRevoker(options: RevokerOptions) {
  const { kubernetes, rootNamespace } = options;
  let revoked: ReadonlySet<string> = new Set();
  /** The SPIFFE IDs whose ServiceAccounts are known to have been deleted. */
  let deleted: ReadonlySet<string> = new Set();
  const denied = createDenyPolicies(options, NAME, principalsIn);
  const denyTokens = createEndedSessionPolicies(options);
  const deleteAccounts = async (all: readonly RevokedPrincipal[]): Promise<void> => {
    const gone = new Set([...deleted].filter((spiffeId) => revoked.has(spiffeId)));
    deleted = gone;
    await inBatches(
      all.filter(({ spiffeId }) => !gone.has(spiffeId)),
      async ({ namespace, serviceAccount, spiffeId }) => {
        await kubernetes.deleteServiceAccount(namespace, serviceAccount);
        gone.add(spiffeId);
      },
    );
  };
  const apply = async (all: readonly RevokedPrincipal[]): Promise<void> => {
    const now = options.now();
    const live = all.filter(({ until, undenied }) => until > now && !undenied);
    // Set this first so that no more certificates are signed for these principals.
    revoked = new Set(all.map(({ spiffeId }) => spiffeId));
    await denied.apply(live.map(principalOf), (name, principals) => denyPolicy(name, rootNamespace, { principals }));
    const sessions = [...new Set(live.flatMap(({ sessionId }) => sessionId ?? []))];
    // The tokens are denied first. If one of the two steps fails, the other one still runs.
    await inBatches([() => denyTokens(sessions), () => deleteAccounts(all)], (part) => part(), 1);
  };

  return {
    /** Whether the principal was included in the last call of `apply`. */
    isRevoked: (spiffeId: string) => revoked.has(spiffeId),
    /**
     * Updates the root DENY policies so that they list exactly these principals, except for expired and undenied ones,
     * and deletes the ServiceAccounts of new ones. This is idempotent and works from any state, but must not run
     * concurrently.
     */
    apply,
    /**
     * Lists the principals of all sessions in the cluster, both those that have a ServiceAccount and those that are
     * denied.
     */
    principals: async (): Promise<readonly MeshPrincipal[]> => {
      const accounts = (await sessionAccounts(options)).map(({ createdAt: _, ...principal }) => principal);
      const principals = [...(await denied.read()).values()].flatMap(({ entries }) => entries.flatMap(meshPrincipal));
      return [...new Map([...accounts, ...principals].map((one) => [one.spiffeId, one])).values()];
    },
    /**
     * Deletes the ServiceAccounts of sessions that are no longer live. A broker that is killed after it has created a
     * ServiceAccount, but before it has recorded it, leaves one behind. Recent ServiceAccounts are kept because they
     * may belong to a session that is just being opened.
     * @returns the SPIFFE IDs of the deleted ServiceAccounts
     */
    collectOrphans: async (live: ReadonlySet<string>): Promise<readonly string[]> => {
      const oldest = options.now() - ORPHAN_AGE_SECONDS;
      const orphans = (await sessionAccounts(options)).filter(
        ({ createdAt, spiffeId }) => createdAt < oldest && !live.has(spiffeId),
      );
      await inBatches(orphans, (one) => kubernetes.deleteServiceAccount(one.namespace, one.serviceAccount));
      return orphans.map(({ spiffeId }) => spiffeId);
    },
  };
}

async function sessionAccounts({ kubernetes, trustDomain }: RevokerOptions) {
  const accounts = await kubernetes.list('ServiceAccount', OURS);
  return accounts.flatMap(({ metadata: { namespace = '', name, creationTimestamp = '' } }) => {
    if (!isOfSession(namespace, name)) return [];
    const spiffeId = formatSpiffe({ trustDomain, namespace, serviceAccount: name });
    return [{ namespace, serviceAccount: name, spiffeId, createdAt: Date.parse(creationTimestamp) / 1000 }];
  });
}

function isOfSession(namespace: string, serviceAccount: string): boolean {
  return namespace.startsWith(grantNamespace('')) && serviceAccount !== RELAY_ACCOUNT;
}

/**
 * Parses a principal in the format of an AuthorizationPolicy.
 * @param principal the principal as it appears in `source.principals`
 * @returns the principal in a list, which is empty if the ServiceAccount does not belong to a session
 */
function meshPrincipal(principal: string): MeshPrincipal[] {
  const spiffeId = `spiffe://${principal}`;
  const parsed = parseSpiffe(spiffeId);
  if (!parsed || !isOfSession(parsed.namespace, parsed.serviceAccount)) return [];
  return [{ namespace: parsed.namespace, serviceAccount: parsed.serviceAccount, spiffeId }];
}

/** Formats a principal for use in `source.principals`, as `TRUST_DOMAIN/ns/NAMESPACE/sa/NAME`. */
function principalOf({ spiffeId }: RevokedPrincipal): string {
  return spiffeId.slice('spiffe://'.length);
}

function principalsIn(object: ListedObject): readonly string[] {
  const spec = object.spec as
    | { rules?: readonly { from?: readonly { source?: { principals?: readonly string[] } }[] }[] }
    | undefined;
  const principals = spec?.rules?.flatMap((rule) => rule.from?.flatMap(({ source }) => source?.principals ?? []) ?? []);
  return (principals ?? []).filter((principal) => parseSpiffe(`spiffe://${principal}`) !== undefined);
}

/**
 * Processes all items in batches, even if some of them fail.
 * @throws the first failure, after all items have been processed
 */
async function inBatches<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
  size = DELETIONS_AT_ONCE,
): Promise<void> {
  const failed: PromiseRejectedResult[] = [];
  for (let from = 0; from < items.length; from += size) {
    const outcomes = await Promise.allSettled(items.slice(from, from + size).map(work));
    failed.push(...outcomes.filter((outcome) => outcome.status === 'rejected'));
  }
  if (failed[0]) throw failed[0].reason;
}
