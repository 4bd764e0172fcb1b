/** A browser as far as a sign-in needs it: follows redirects with cookies, and fills in the provider's own forms. */
export interface Browser {
  /** Goes on until a page that is no redirect, or one whose URL `stop` names. */
  readonly open: (url: string, init?: RequestInit) => Promise<Page>;
}

export interface Page {
  readonly url: string;
  readonly status: number;
  readonly html: string;
}

/** @param stop matches URLs that are returned instead of opened, such as the redirect of the sign-in */
export function createBrowser(stop: (url: string) => boolean = () => false): Browser {
  const cookies = new Map<string, string>();
  const open: Browser['open'] = async (url, init = {}) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, cookie } });
    for (const line of answer.headers.getSetCookie()) {
      const [pair = ''] = line.split(';');
      const at = pair.indexOf('=');
      cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    const location = answer.headers.get('location');
    if (location === null) return { url, status: answer.status, html: await answer.text() };
    const next = new URL(location, url).href;
    if (stop(next)) return { url: next, status: answer.status, html: '' };
    return await open(next);
  };
  return { open };
}

/** Fills in a form of the page and sends it. */
export async function submit(browser: Browser, page: Page, fields: Record<string, string>): Promise<Page> {
  const action = /<form[^>]*action="([^"]+)"/.exec(page.html)?.[1];
  if (action === undefined) throw new Error(`no form at ${page.url}: ${page.html.slice(0, 500)}`);
  const hidden = [...page.html.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([input]) => [
    /name="([^"]*)"/.exec(input)?.[1] ?? '',
    /value="([^"]*)"/.exec(input)?.[1] ?? '',
  ]);
  const body = new URLSearchParams({ ...Object.fromEntries(hidden), ...fields });
  return await browser.open(new URL(action.replaceAll('&amp;', '&'), page.url).href, { method: 'POST', body });
}

/** Signs in at the development provider and consents. */
export async function signInAt(browser: Browser, url: string, login: string): Promise<Page> {
  let page = await browser.open(url);
  if (page.html.includes('name="login"')) page = await submit(browser, page, { login, password: 'any' });
  for (let n = 0; n < 3 && page.html.includes('<form'); n++) page = await submit(browser, page, {});
  return page;
}

/** Signs out at the provider in the browser that signed in (OpenID Connect RP-Initiated Logout 1.0). */
export async function signOutAt(browser: Browser, issuer: string): Promise<void> {
  const discovery = await fetch(`${issuer}/.well-known/openid-configuration`);
  const { end_session_endpoint: end } = (await discovery.json()) as { end_session_endpoint: string };
  const page = await browser.open(end);
  if (page.html.includes('<form')) await submit(browser, page, { logout: 'yes' });
}

/** Enters the code of a device flow on "another device". @param url that has the code */
export async function enterCode(url: string, login: string): Promise<void> {
  const browser = createBrowser();
  const page = await submit(browser, await browser.open(url), { confirm: 'yes' });
  const signedIn = page.html.includes('name="login"') ? await submit(browser, page, { login, password: 'any' }) : page;
  if (signedIn.html.includes('<form')) await submit(browser, signedIn, {});
}
