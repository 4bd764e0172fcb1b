/** What the agent is told. Only the broker's address has no default. */
import { BlockList, isIPv4 } from 'node:net';
import { MeshpassError } from '@meshpass/identity/error';
import { isClusterDomain } from '../session/mesh-host.ts';
import { runtimeDirectory } from './control.ts';

export interface AgentConfig {
  /** Public URL of the broker. */
  readonly broker: string;
  /** PEM file of the roots that broker and edge are verified with, instead of Node's own. */
  readonly caFile?: string | undefined;
  readonly proofFile?: string | undefined;
  /** `aud` of the proof where the agent asks for it itself (GitHub Actions). */
  readonly audience: string;
  /** Names through a hosts file; false leaves the proxy only. */
  readonly byName: boolean;
  readonly hostsFile: string;
  /** Domain of the cluster: no name outside of it is taken from the broker. */
  readonly clusterDomain: string;
  /** 0 for any free port. */
  readonly proxyPort: number;
  /** An address of this machine on which the proxy listens for containers too, as Docker's 172.17.0.1. */
  readonly bridgeAddress?: string | undefined;
  /** Where the broker's challenges are answered, so that a devcontainer.json can forward it; 0 for any free one. */
  readonly presencePort: number;
  readonly runtimeDirectory: string;
  /** How `meshpass` is started, for kubectl's credentials; by its name where absent. */
  readonly command?: readonly string[] | undefined;
  /** Name of an issuer of the access file at which the developer signs in before the session opens. */
  readonly signIn?: string | undefined;
  /** Path of the Envoy to run, instead of the one that is installed. */
  readonly envoy?: string | undefined;
}

/**
 * From the environment (MESHPASS_...), over which the given options win.
 * @throws MeshpassError config_invalid
 */
export function agentConfig(
  options: { readonly [Key in keyof AgentConfig]?: AgentConfig[Key] | undefined },
  env: Readonly<Record<string, string | undefined>>,
): AgentConfig {
  const broker = options.broker ?? env.MESHPASS_BROKER;
  if (!broker) {
    throw new MeshpassError('config_invalid', 'Where is the broker? Give --broker https://... or set MESHPASS_BROKER.');
  }
  const proxyPort = options.proxyPort ?? Number(env.MESHPASS_PROXY_PORT || 0);
  if (!Number.isInteger(proxyPort) || proxyPort < 0 || proxyPort > 65_535) {
    throw new MeshpassError('config_invalid', 'The proxy port must be a number from 0 to 65535.');
  }
  const bridgeAddress = options.bridgeAddress ?? (env.MESHPASS_BRIDGE_ADDRESS || undefined);
  if (bridgeAddress !== undefined && !isBridgeAddress(bridgeAddress)) {
    throw new MeshpassError(
      'config_invalid',
      'The bridge address must be a private IPv4 address of this machine, as 172.17.0.1 is: every address (0.0.0.0) or a public one ' +
        'would offer the proxy to the network.',
    );
  }
  const clusterDomain = options.clusterDomain ?? (env.MESHPASS_CLUSTER_DOMAIN || 'cluster.local');
  if (!isClusterDomain(clusterDomain)) {
    throw new MeshpassError('config_invalid', 'The cluster domain must be a lower-case DNS name, as cluster.local is.');
  }
  const presencePort = options.presencePort ?? Number(env.MESHPASS_PRESENCE_PORT || 0);
  if (!Number.isInteger(presencePort) || (presencePort !== 0 && (presencePort < 1024 || presencePort > 65_535))) {
    throw new MeshpassError('config_invalid', 'The presence port must be a number from 1024 to 65535, or 0 for any.');
  }
  return {
    broker,
    caFile: options.caFile ?? (env.MESHPASS_CA_FILE || undefined),
    proofFile: options.proofFile ?? (env.MESHPASS_PROOF_FILE || undefined),
    audience: options.audience ?? (env.MESHPASS_AUDIENCE || 'meshpass'),
    byName: options.byName ?? env.MESHPASS_BY_NAME !== 'false',
    clusterDomain,
    hostsFile: options.hostsFile ?? (env.MESHPASS_HOSTS_FILE || '/etc/hosts'),
    proxyPort,
    bridgeAddress,
    presencePort,
    runtimeDirectory: options.runtimeDirectory ?? runtimeDirectory(env),
    command: options.command,
    signIn: options.signIn ?? (env.MESHPASS_SIGN_IN || undefined),
    envoy: options.envoy ?? (env.MESHPASS_ENVOY || undefined),
  };
}

const PRIVATE = new BlockList();
for (const [network, prefix] of [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  PRIVATE.addSubnet(network, prefix);
}

/** RFC 1918. */
function isBridgeAddress(address: string): boolean {
  return isIPv4(address) && PRIVATE.check(address);
}
