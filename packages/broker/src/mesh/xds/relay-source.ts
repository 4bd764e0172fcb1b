/** Configuration source: istiod, and the broker's credentials for it. Provided by connect-mesh.ts. */
import type { IstiodConnection } from '../istiod/connection.ts';

export interface RelaySource {
  /** Connection for streams only, independent of the limits and lifetime of certificate requests. */
  readonly connection: IstiodConnection;
  /**
   * Requests a token for the relay's ServiceAccount in a grant's namespace.
   * @throws MeshpassError `kubernetes_unavailable`
   */
  readonly token: (namespace: string, signal: AbortSignal) => Promise<string>;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  /** Request header with the identity token. */
  readonly tokenHeader: string;
}
