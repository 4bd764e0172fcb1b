/** Istio's own source, at the version that the lab builds: the Go module, from the cache that the build has filled. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Directory of the source. Downloads it, verified by the checksum database, if it is missing. */
export function istioSource(): string {
  const cwd = fileURLToPath(new URL('../../lab/tools/istio/', import.meta.url));
  const env = { ...process.env, GOFLAGS: '-mod=readonly', GOWORK: 'off' };
  const said = execFileSync('go', ['mod', 'download', '-json', 'istio.io/istio'], { cwd, env, encoding: 'utf8' });
  return (JSON.parse(said) as { Dir: string }).Dir;
}
