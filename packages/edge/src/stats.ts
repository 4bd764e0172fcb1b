/** The counters of an edge, as plain numbers and in the Prometheus text format. */
import { type CertificateValidity, VERSION } from '@meshpass/identity';

export interface EdgeStats {
  /**
   * The number of open connections. This and the following fields are current values. The totals are listed after them.
   */
  readonly connections: number;
  /** The number of connections without a known live session. */
  readonly strangers: number;
  readonly warm: number;
  readonly tunnels: number;
  /** The number of open control connections. */
  readonly control: number;
  readonly sessions: number;
  /** Whether the edge is about to shut down. */
  readonly draining: boolean;
  readonly directory: 'empty' | 'fresh' | 'stale' | 'abandoned';
  /** How long ago the broker's last beat arrived, in milliseconds. */
  readonly silentMs: number;
  /** The validity period of the current server certificate. */
  readonly certificate: CertificateValidity;
  /** The number of accepted TCP connections. This and the following fields are totals since the edge started. */
  readonly accepted: number;
  /** The number of connections without a session that were closed to make room for newer ones. */
  readonly evicted: number;
  readonly handshakes: number;
  readonly resumed: number;
  readonly allowed: number;
  readonly ended: number;
  readonly refused: Readonly<Record<string, number>>;
  /** The number of bytes sent from clients to the mesh (in) and from the mesh to clients (out). */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/**
 * The refusal codes that are used in alerts. Their counters start at zero, because Prometheus does not see an increase
 * in a series that starts at one.
 */
const ALERTED: EdgeStats['refused'] = { tunnel_gateway_unreachable: 0 };

/** Formats the counters in version 0.0.4 of the Prometheus text format. */
export function formatStats(stats: EdgeStats): string {
  const lines: string[] = [];
  head('meshpass_build_info', 'Always 1; the labels say what runs.', 'gauge');
  lines.push(`meshpass_build_info{component="edge",version="${VERSION}"} 1`);
  gauge('meshpass_edge_connections', 'Open connections.', stats.connections);
  gauge('meshpass_edge_strangers', 'Connections without a known live session.', stats.strangers);
  gauge('meshpass_edge_warm_connections', 'Authenticated connections waiting for their CONNECT.', stats.warm);
  gauge('meshpass_edge_tunnels', 'Open tunnels.', stats.tunnels);
  gauge('meshpass_edge_control_connections', 'Control connections of agents.', stats.control);
  gauge('meshpass_edge_sessions', 'Live sessions in the directory.', stats.sessions);
  gauge(
    'meshpass_edge_directory_fresh',
    'Whether the feed of the broker is fresh.',
    stats.directory === 'fresh' ? 1 : 0,
  );
  gauge('meshpass_edge_draining', 'Whether the edge is about to terminate.', stats.draining ? 1 : 0);
  gauge('meshpass_edge_broker_silent_seconds', 'Time since the last beat of the broker.', stats.silentMs / 1000);
  certificate('not_before', 'Unix time from which the server certificate is valid.', stats.certificate.notBefore);
  certificate('not_after', 'Unix time at which the server certificate expires.', stats.certificate.notAfter);
  counter('meshpass_edge_accepted_total', 'TCP connections accepted.', stats.accepted);
  counter('meshpass_edge_evicted_total', 'Connections without a session ended to make room.', stats.evicted);
  counter('meshpass_edge_handshakes_total', 'Outer TLS handshakes finished.', stats.handshakes);
  counter('meshpass_edge_resumed_total', 'Outer TLS handshakes that resumed a session.', stats.resumed);
  counter('meshpass_edge_allowed_total', 'Tunnels opened.', stats.allowed);
  counter('meshpass_edge_ended_total', 'Tunnels ended.', stats.ended);
  counter('meshpass_edge_bytes_in_total', 'Bytes from clients to the mesh.', stats.bytesIn);
  counter('meshpass_edge_bytes_out_total', 'Bytes from the mesh to clients.', stats.bytesOut);
  head('meshpass_edge_refused_total', 'Refusals by code.', 'counter');
  for (const [code, count] of Object.entries({ ...ALERTED, ...stats.refused })) {
    lines.push(`meshpass_edge_refused_total{code="${code}"} ${count}`);
  }
  return `${lines.join('\n')}\n`;

  function head(name: string, help: string, type: string): void {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
  }
  function gauge(name: string, help: string, value: number): void {
    head(name, help, 'gauge');
    lines.push(`${name} ${value}`);
  }
  function certificate(when: string, help: string, value: number): void {
    const name = `meshpass_tls_certificate_${when}_timestamp_seconds`;
    head(name, help, 'gauge');
    lines.push(`${name}{component="edge"} ${value}`);
  }
  function counter(name: string, help: string, value: number): void {
    head(name, help, 'counter');
    lines.push(`${name} ${value}`);
  }
}
