/**
 * A person's browser: `node lab/src/try/browse.ts SUB URL` opens the page of the lab's identity provider, signs in there as SUB, and
 * agrees. `xdg-open` of an operator's machine in the lab is this, so that `meshpass login` goes through by itself.
 */
import { readFileSync } from 'node:fs';
import { signInAs } from '../oidc/browser.ts';

const [subject, url, ...more] = process.argv.slice(2);
const ca = process.env.NODE_EXTRA_CA_CERTS;
if (subject === undefined || url === undefined || more.length > 0 || !URL.canParse(url) || ca === undefined) {
  process.stderr.write('Usage, with the CA of the lab in NODE_EXTRA_CA_CERTS: browse.ts SUB URL\n');
  process.exitCode = 2;
} else {
  const text = await signInAs(url, { ca: readFileSync(ca, 'utf8'), types: { login: subject, password: 'any' } });
  process.stdout.write(
    `${text
      .replaceAll(/<(style|script|title)[\s\S]*?<\/\1>|<[^>]+>/g, ' ')
      .replaceAll(/\s+/g, ' ')
      .trim()}\n`,
  );
}
