/** Environment variables that make programs use the proxy. */
export const PROXY_USER = 'meshpass';

/**
 * Returns the variables in upper and lower case. Some programs read only one spelling, and curl reads http_proxy only
 * in lower case.
 * @param address address of the proxy as the program sees it
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

/** Formats lines for `eval "$(meshpass env)"`, with values in single quotes. */
export function formatShellExports(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join('');
}

/**
 * Formats lines for `docker run --env-file` and Compose's `env_file`, which treat everything after the first `=` as the
 * value.
 */
export function envFileLines(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}
