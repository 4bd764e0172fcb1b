/**
 * Revokes principals in Kubernetes and Istio. A root DENY policy covers an ended session until its last SVID has
 * expired. The session's ServiceAccount is deleted, so that it cannot get another SVID.
 */
import { formatSpiffe, grantNamespace, parseSpiffe, RELAY_ACCOUNT } from '@meshpass/identity';
import type { Kubernetes, ListedObject } from '../../kubernetes/kubernetes.ts';
import { createDenyPolicies } from './denials.ts';
import { denyPolicy, OURS } from './deny-policy.ts';
import { createEndedSessionPolicies, type EndedSessionPoliciesOptions } from './ended-sessions.ts';

/** Identity that a session has in the mesh. */
export interface MeshPrincipal {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
}

/** Principal of an ended session. */
export interface RevokedPrincipal extends MeshPrincipal {
  /**
   * Time at which its last SVID and the session's last token have expired, Unix seconds. The root DENY policy lists the
   * principal until then.
   */
  readonly until: number;
  /** Session id, present if the whole session has ended. Its tokens are then refused for every caller. */
  readonly sessionId?: string | undefined;
  /**
   * Whether the principal ended without a DENY policy (core/session/deny/ended.ts). Even so, no more certificates are
   * signed for it, and its ServiceAccount is deleted.
   */
  readonly undenied?: boolean | undefined;
}

export interface RevokerOptions extends EndedSessionPoliciesOptions {
  readonly kubernetes: Pick<Kubernetes, 'apply' | 'remove' | 'list' | 'deleteServiceAccount'>;
  readonly trustDomain: string;
}

export type MeshRevoker = ReturnType<typeof createRevoker>;

const NAME = 'meshpass-revoked';
const ORPHAN_AGE_SECONDS = 120;
const DELETIONS_AT_ONCE = 8;

/** Creates the revoker. */
export function createRevoker(options: RevokerOptions) {
  const { kubernetes, rootNamespace } = options;
  let revoked: ReadonlySet<string> = new Set();
  /** ServiceAccounts that are known to have been deleted. */
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
    // This is set first, so that no more certificates are signed for these principals.
    revoked = new Set(all.map(({ spiffeId }) => spiffeId));
    await denied.apply(live.map(principalOf), (name, principals) => denyPolicy(name, rootNamespace, { principals }));
    const sessions = [...new Set(live.flatMap(({ sessionId }) => sessionId ?? []))];
    // Denials come first. If one part fails, the other one still runs.
    await inBatches([() => denyTokens(sessions), () => deleteAccounts(all)], (part) => part(), 1);
  };

  return {
    /** Whether the last `apply` included the principal. */
    isRevoked: (spiffeId: string) => revoked.has(spiffeId),
    /**
     * Updates the root DENY policies so that they list exactly these principals, except expired and undenied ones, and
     * deletes the ServiceAccounts of new ones. Idempotent, and converges from any state, but must not run concurrently.
     */
    apply,
    /** Lists all session principals in the cluster: those that have a ServiceAccount, and those that are denied. */
    principals: async (): Promise<readonly MeshPrincipal[]> => {
      const accounts = (await sessionAccounts(options)).map(({ createdAt: _, ...principal }) => principal);
      const principals = [...(await denied.read()).values()].flatMap(({ entries }) => entries.flatMap(meshPrincipal));
      return [...new Map([...accounts, ...principals].map((one) => [one.spiffeId, one])).values()];
    },
    /**
     * Deletes session ServiceAccounts that do not belong to a live session. A broker that is killed after creating a
     * ServiceAccount, but before recording it, leaves one behind. Recent ServiceAccounts are kept, because they may
     * belong to a session that is being opened.
     * @returns the SPIFFE ids of the deleted ServiceAccounts
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
 * Parses a principal.
 * @param principal principal as in `source.principals`
 * @returns the principal, or an empty list if its ServiceAccount does not belong to a session
 */
function meshPrincipal(principal: string): MeshPrincipal[] {
  const spiffeId = `spiffe://${principal}`;
  const parsed = parseSpiffe(spiffeId);
  if (!parsed || !isOfSession(parsed.namespace, parsed.serviceAccount)) return [];
  return [{ namespace: parsed.namespace, serviceAccount: parsed.serviceAccount, spiffeId }];
}

/** Formats a principal for `source.principals`: `TRUST_DOMAIN/ns/NAMESPACE/sa/NAME`. */
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
 * Processes all items in batches, even if some fail.
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
