/** The environment that sends programs through the proxy. */
export const PROXY_USER = 'meshpass';

/**
 * Both spellings: some programs read only one, and curl reads http_proxy only in lower case.
 * @param address where the program reaches the proxy
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

/** Lines for `eval "$(meshpass env)"`. Values are in single quotes. */
export function exportLines(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join('');
}

/** Lines for `docker run --env-file` and `env_file` of Compose: everything behind the first `=` is the value. */
export function envFileLines(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}
