/** Differences between a Codespace and a pod, and limits of this lab: the second half of the table's page. */

/** Reasons by case for a Codespace's different outcome. Other cases must have the pod's outcome. */
export const DIFFERENCES: Readonly<Record<string, string>> = {
  CORS:
    "On purpose: a workspace refuses each request that a page of another site had a browser send, before the service's rules are evaluated " +
    '([browsers](../agent.md#other-processes-users-and-browsers-of-the-machine)). The page would have the identity of the developer.',
  'Undeclared protocol':
    'Not granted, on purpose: the access file refuses a port that declares no protocol (`access_port_undeclared`). There the ' +
    "client's ALPN would decide whether the service's HTTP rules or its TCP rules are evaluated.",
  'Consistent hashing':
    'The workspace knows one endpoint, the tunnel. The mesh gateway passes TLS on by its SNI and picks the pod once for each ' +
    'connection, so the hash chooses among one. A subset that matches one pod each has an SNI of its own, and can be routed to.',
  'Outlier detection, one of two pods':
    'As above: a connection has one pod, and its errors count against the one endpoint, which stands for all. A pod that refuses connections is ' +
    'ejected by the gateway, where the DestinationRule is in force, too.',
};

export interface Untested {
  readonly feature: string;
  readonly reason: string;
}

export const UNTESTED: readonly Untested[] = [
  {
    feature: '`istio_requests_total`',
    reason:
      "Filter `istio.stats` is in Istio's build of Envoy alone; lab and workspaces run Envoy as its project releases it. At a service with " +
      "Istio's build the label `source_principal` is taken from the caller's certificate: the principal that the service's sidecar puts " +
      'logs, which for a Codespace is that of its session (row "Telemetry API: access logging").',
  },
  {
    feature: 'Metadata exchange',
    reason:
      "Filter `metadata_exchange` is in Istio's build alone. Labels that need it (`source_workload`, `source_app`) are `unknown` for calls from a Codespace.",
  },
  {
    feature: "Access logs and spans of the caller's own proxy",
    reason:
      'A pod has both. A workspace leaves them out: a file access log writes files and a tracer opens connections of its own, and the agent ' +
      'accepts neither from the broker. The sidecar of the service logs and traces each call.',
  },
];
