/** Defines the environment variables that make programs use the proxy. */
export const PROXY_USER = 'meshpass';

/**
 * Returns the variables in both upper and lower case. Some programs only read one of them, and curl only reads the
 * lower-case http_proxy.
 * @param address the address of the proxy, as seen by the program
 */
export function proxyEnvironment(
  proxy: { readonly port: number; readonly secret: string },
  address = '127.0.0.1',
): Readonly<Record<string, string>> {
  const http = `http://${PROXY_USER}:${proxy.secret}@${address}:${proxy.port}`;
  const none = 'localhost,127.0.0.1,::1';
  return {
    http_proxy: http,
    HTTP_PROXY: http,
    https_proxy: http,
    HTTPS_PROXY: http,
    all_proxy: http,
    ALL_PROXY: http,
    no_proxy: none,
    NO_PROXY: none,
  };
}

/** Formats the variables as shell commands for `eval "$(meshpass env)"`, with their values in single quotes. */
export function formatShellExports(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join('');
}

/**
 * Formats the variables for `docker run --env-file` and Compose's `env_file`, which treat everything after the first
 * `=` as the value.
 */
export function envFileLines(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}
