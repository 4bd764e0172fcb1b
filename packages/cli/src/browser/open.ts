/** Pages in the user's browser. */
import { spawn } from 'node:child_process';

/**
 * Opens a page if there is a browser. Failures are ignored, because the URL is printed anyway.
 * @param url from an issuer; passed as one argument, without a shell
 */
export function openBrowser(url: string): void {
  const [program, ...words] = process.platform === 'darwin' ? ['open'] : ['xdg-open'];
  const child = spawn(program!, [...words, url], { stdio: 'ignore', detached: true });
  child.on('error', () => {});
  child.unref();
}
