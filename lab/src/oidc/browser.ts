/** A person with a browser who signs in at a provider: follows redirects, keeps cookies, and fills in the forms of the pages. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface PersonOptions {
  /** PEM of the root that the provider's certificate has. */
  readonly ca: string;
  /** Input for fields, by name; fields with a value keep it. */
  readonly types: Readonly<Record<string, string>>;
  /** Cookies of the browser, for reuse. */
  readonly cookies?: Map<string, string>;
  /** IPv4 address of a name that the machine does not know. */
  readonly lookup?: (name: string) => string;
}

/** More pages than any sign-in has. */
const MOST_PAGES = 20;

interface Page {
  readonly url: URL;
  readonly text: string;
}

/**
 * Opens a page and submits forms until there is none.
 * @returns the text of the last page
 */
export async function signInAs(url: string, options: PersonOptions): Promise<string> {
  const { cookies = new Map<string, string>() } = options;
  let page = await open(new URL(url), undefined, cookies, options);
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const form = formOf(page, options.types);
    if (!form) return page.text;
    page = await open(form.action, form.fields, cookies, options);
  }
  throw new Error(`the sign-in does not end: ${page.text.slice(0, 500)}`);
}

/** Signs out in the browser whose cookies these are (OpenID Connect RP-Initiated Logout 1.0). @param end the provider's endpoint */
export async function signOutIn(end: string, options: PersonOptions): Promise<void> {
  const { cookies = new Map<string, string>() } = options;
  const form = formOf(await open(new URL(end), undefined, cookies, options), options.types);
  // The button that confirms is outside of the form.
  form?.fields.set('logout', 'yes');
  if (form) await open(form.action, form.fields, cookies, options);
}

async function open(
  url: URL,
  fields: URLSearchParams | undefined,
  cookies: Map<string, string>,
  options: PersonOptions,
): Promise<Page> {
  const { headers, text } = await send(url, fields, cookies, options);
  for (const line of headers['set-cookie'] ?? []) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    if (name !== undefined) cookies.set(name, value ?? '');
  }
  return headers.location === undefined
    ? { url, text }
    : open(new URL(headers.location, url), undefined, cookies, options);
}

function send(
  url: URL,
  fields: URLSearchParams | undefined,
  cookies: ReadonlyMap<string, string>,
  { ca, lookup }: PersonOptions,
): Promise<{ readonly headers: { location?: string; 'set-cookie'?: string[] }; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const body = fields?.toString();
    const address = lookup?.(url.hostname);
    // The redirect of a command on this machine has no TLS (RFC 8252 section 7.3).
    const request = url.protocol === 'http:' ? httpRequest : httpsRequest;
    const outgoing = request(
      url,
      {
        ca,
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
          ...(body !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        ...(address !== undefined && {
          lookup: (_name, { all }, done) => (all ? done(null, [{ address, family: 4 }]) : done(null, address, 4)),
        }),
      },
      (incoming) => {
        let text = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (chunk: string) => {
          text += chunk;
        });
        incoming.on('end', () => resolve({ headers: incoming.headers as never, text }));
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** The first form of a page that has one, filled in. */
function formOf({ url, text }: Page, types: PersonOptions['types']) {
  const form = /<form([^>]*)>([\s\S]*?)<\/form>/i.exec(text);
  if (!form) return undefined;
  const attribute = (tag: string, name: string) => new RegExp(`\\b${name}="([^"]*)"`, 'i').exec(tag)?.[1];
  const fields = new URLSearchParams();
  for (const [input] of form[2]!.matchAll(/<input[^>]*>/gi)) {
    const name = attribute(input, 'name');
    if (name === undefined || name === 'abort') continue;
    fields.set(name, types[name] ?? attribute(input, 'value') ?? '');
  }
  const action = attribute(form[1]!, 'action')?.replaceAll('&amp;', '&');
  return { action: new URL(action ?? url, url), fields };
}
