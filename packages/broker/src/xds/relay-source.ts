/** Where configurations come from: istiod, and who the broker is to it. connect-mesh.ts provides it. */
import type { IstiodConnection } from '../istiod/connection.ts';

export interface RelaySource {
  /** For streams only: they must not share the limits and the end of certificate requests. */
  readonly connection: IstiodConnection;
  /** Token of the relay's ServiceAccount in the namespace of a grant. @throws MeshpassError `kubernetes_unavailable` */
  readonly token: (namespace: string, signal: AbortSignal) => Promise<string>;
  readonly trustDomain: string;
  readonly clusterDomain: string;
}
