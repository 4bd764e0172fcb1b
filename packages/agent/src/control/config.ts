/** Reads the configuration of the agent. Every setting except the broker's address has a default. */
import { readFileSync } from 'node:fs';
import { BlockList, isIPv4 } from 'node:net';
import { describeFileError, MeshpassError } from '@meshpass/identity';
import { isClusterDomain } from '../session/mesh-host.ts';
import { runtimeDirectory } from './control.ts';

export interface AgentConfig {
  /** The public URL of the broker. */
  readonly broker: string;
  /**
   * A PEM file with the root certificates for the broker and the edge. They replace the root certificates of Node.js.
   */
  readonly caFile?: string | undefined;
  readonly proofFile?: string | undefined;
  /** The `aud` claim of a proof that the agent requests itself (in GitHub Actions). */
  readonly audience: string;
  /**
   * Whether to make service names resolvable through a hosts file. If false, services can only be reached through the
   * proxy.
   */
  readonly byName: boolean;
  readonly hostsFile: string;
  /** The DNS domain of the cluster. The agent rejects any name from the broker that is outside this domain. */
  readonly clusterDomain: string;
  /** The port of the loopback proxy, or 0 for any free port. */
  readonly proxyPort: number;
  /** An additional address on which the proxy listens for containers, such as Docker's 172.17.0.1. */
  readonly bridgeAddress?: string | undefined;
  /** The port for the broker's challenges, which a devcontainer.json can forward. 0 selects any free port. */
  readonly presencePort: number;
  readonly runtimeDirectory: string;
  /** The command that kubectl uses to start `meshpass`. Defaults to `meshpass`. */
  readonly command?: readonly string[] | undefined;
  /** The issuer, from the access file, where the developer must sign in before the session opens. */
  readonly signIn?: string | undefined;
  /** The path to an Envoy binary that is run instead of the installed one. */
  readonly envoy?: string | undefined;
}

/**
 * Completes the configuration with environment variables (MESHPASS_...) and defaults.
 * @param options the options of the command line, whose flags read environment variables of their own
 * @throws MeshpassError config_invalid
 */
export function agentConfig(
  options: { readonly [Key in keyof AgentConfig]?: AgentConfig[Key] | undefined },
  env: Readonly<Record<string, string | undefined>>,
): AgentConfig {
  const config = {
    ...DEFAULTS,
    runtimeDirectory: runtimeDirectory(env),
    ...fromEnvironment(env),
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
  };
  const problem = PROBLEMS.find(([isWrong]) => isWrong(config))?.[1];
  if (problem) throw new MeshpassError('config_invalid', problem);
  return config as AgentConfig;
}

type Settings = Omit<AgentConfig, 'broker'> & { readonly broker?: string };

const DEFAULTS = {
  audience: 'meshpass',
  byName: true,
  clusterDomain: 'cluster.local',
  hostsFile: '/etc/hosts',
  proxyPort: 0,
  presencePort: 0,
};

/** Reads the settings for which some commands have no flag, if they are present in the environment. */
function fromEnvironment(env: Readonly<Record<string, string | undefined>>): Partial<AgentConfig> {
  return {
    ...(env.MESHPASS_HOSTS_FILE && { hostsFile: env.MESHPASS_HOSTS_FILE }),
    ...(env.MESHPASS_CLUSTER_DOMAIN && { clusterDomain: env.MESHPASS_CLUSTER_DOMAIN }),
    ...(env.MESHPASS_ENVOY && { envoy: env.MESHPASS_ENVOY }),
    ...(env.MESHPASS_PROXY_PORT && { proxyPort: Number(env.MESHPASS_PROXY_PORT) }),
    ...(env.MESHPASS_PRESENCE_PORT && { presencePort: Number(env.MESHPASS_PRESENCE_PORT) }),
    ...(env.MESHPASS_BY_NAME === 'false' && { byName: false }),
  };
}

const PROBLEMS: readonly (readonly [isWrong: (config: Settings) => boolean, problem: string])[] = [
  [({ broker }) => !broker, "The broker's URL is missing. Pass --broker https://... or set MESHPASS_BROKER."],
  [
    ({ proxyPort }) => !Number.isInteger(proxyPort) || proxyPort < 0 || proxyPort > 65_535,
    'The proxy port must be a number from 0 to 65535.',
  ],
  [
    ({ bridgeAddress }) => bridgeAddress !== undefined && !isBridgeAddress(bridgeAddress),
    'The bridge address must be a private IPv4 address of this machine, such as 172.17.0.1: all addresses (0.0.0.0) or a public one ' +
      'would expose the proxy to the network.',
  ],
  [
    ({ clusterDomain }) => !isClusterDomain(clusterDomain),
    'The cluster domain must be a lower-case DNS name, such as cluster.local.',
  ],
  [
    ({ presencePort }) =>
      !Number.isInteger(presencePort) || (presencePort !== 0 && (presencePort < 1024 || presencePort > 65_535)),
    'The presence port must be a number from 1024 to 65535, or 0 for any free port.',
  ],
];

const PRIVATE = new BlockList();
PRIVATE.addSubnet('10.0.0.0', 8);
PRIVATE.addSubnet('172.16.0.0', 12);
PRIVATE.addSubnet('192.168.0.0', 16);

/** Returns whether an address is private (RFC 1918). */
function isBridgeAddress(address: string): boolean {
  return isIPv4(address) && PRIVATE.check(address);
}

/**
 * Reads a CA file in PEM format.
 * @returns the PEM, or undefined if the path is undefined
 * @throws MeshpassError config_invalid
 */
export function readCa(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new MeshpassError('config_invalid', `--ca-file: cannot read ${path}: ${describeFileError(cause)}.`, {
      cause,
    });
  }
}
