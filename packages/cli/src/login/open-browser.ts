/** Opens a page in the user's browser, where there is one. */
import { spawn } from 'node:child_process';

/** Failure is silent: the URL is printed in any case. @param url of an issuer; it is given as one argument, to no shell */
export function openBrowser(url: string): void {
  const [program, ...words] = process.platform === 'darwin' ? ['open'] : ['xdg-open'];
  const child = spawn(program!, [...words, url], { stdio: 'ignore', detached: true });
  child.on('error', () => {});
  child.unref();
}
