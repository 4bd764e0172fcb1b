/** A browser without scripts: follows redirects, keeps cookies for each origin, and sends forms as one does, with Origin. */

export interface Page {
  readonly url: URL;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export class Browser {
  /** Cookies by origin, then by name. */
  readonly cookies = new Map<string, Map<string, string>>();

  /** @param follow whether redirects are followed */
  async open(url: string | URL, follow = true): Promise<Page> {
    return await this.#send(new URL(url), undefined, {}, follow);
  }

  /** Sends a form of a page. @param fields replace its own, and are added */
  async submit(
    page: Page,
    fields: Readonly<Record<string, string>> = {},
    {
      headers = {},
      form = 0,
      follow = true,
    }: { headers?: Record<string, string>; form?: number; follow?: boolean } = {},
  ): Promise<Page> {
    const { action, own } = formsOf(page)[form]!;
    const body = new URLSearchParams({ ...own, ...fields });
    return await this.#send(new URL(action, page.url), body, { origin: page.url.origin, ...headers }, follow);
  }

  async #send(
    url: URL,
    body: URLSearchParams | undefined,
    headers: Record<string, string>,
    follow: boolean,
  ): Promise<Page> {
    const jar = this.cookies.get(url.origin) ?? new Map<string, string>();
    this.cookies.set(url.origin, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, {
      method: body ? 'POST' : 'GET',
      redirect: 'manual',
      body: body ?? null,
      headers: { ...(cookie !== '' && { cookie }), ...headers },
    });
    for (const line of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === '' || /max-age=0/i.test(line)) jar.delete(name);
      else jar.set(name, value);
    }
    const text = await answer.text();
    const location = answer.headers.get('location');
    if (follow && location !== null) return await this.#send(new URL(location, url), undefined, {}, follow);
    return { url, status: answer.status, headers: answer.headers, text };
  }
}

/** Forms of a page with their fields; a button counts only if it is sent. */
export function formsOf({ text }: Pick<Page, 'text'>) {
  return [...text.matchAll(/<form([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, tag = '', inner = '']) => {
    const own: Record<string, string> = {};
    for (const [input] of inner.matchAll(/<input[^>]*>/gi)) {
      const name = attribute(input, 'name');
      if (name !== undefined) own[name] = attribute(input, 'value') ?? '';
    }
    return { action: attribute(tag, 'action') ?? '', own };
  });
}

function attribute(tag: string, name: string): string | undefined {
  return new RegExp(`\\b${name}="([^"]*)"`, 'i').exec(tag)?.[1]?.replaceAll('&amp;', '&');
}
