/** The broker's page in a real browser: Chromium without a window, as Debian has it. */
import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { type PageWorld, startPage } from '../harness/approval/page.ts';

/** Debian's package has its name; `npm run lab -- install --system` installs it. */
export const PROGRAM = '/usr/bin/chromium-headless-shell';
export const HAS_BROWSER = existsSync(PROGRAM);

export interface BrowserWorld extends PageWorld {
  readonly browser: Browser;
  /** A browser that was never used before. Its requests to anything but this machine fail. */
  readonly visit: (options?: BrowserContextOptions) => Promise<Visit>;
  /** Signs in by the forms, as a person does. @returns once the wanted path is shown */
  readonly signInAs: (visit: Visit, login: string, path: string) => Promise<Page>;
}

export interface Visit {
  readonly context: BrowserContext;
  readonly page: Page;
  /** Requests of the broker's page itself, besides navigations: URL and type. */
  readonly loaded: string[];
  /** Console output of the browser about the broker's page, such as violations of the content policy. */
  readonly said: string[];
}

export async function openBrowser(): Promise<BrowserWorld> {
  const world = await startPage();
  world.harness.mesh.setOperators(world.operators);
  // The tests run as root, which Chromium's own sandbox refuses.
  const browser = await chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox'] });

  async function visit(options: BrowserContextOptions = {}): Promise<Visit> {
    const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'UTC', ...options });
    context.setDefaultTimeout(60_000);
    await context.route(
      (url) => !['127.0.0.1', 'localhost'].includes(url.hostname),
      (route) => route.abort(),
    );
    const page = await context.newPage();
    const [loaded, said]: [string[], string[]] = [[], []];
    page.on('request', (request) => {
      const isOfPage = request.frame().url().startsWith(world.origin);
      if (isOfPage && !request.isNavigationRequest()) loaded.push(`${request.resourceType()} ${request.url()}`);
    });
    page.on('console', (message) => {
      if (message.location().url.startsWith(world.origin)) said.push(message.text());
    });
    return { context, page, loaded, said };
  }

  async function signInAs({ page }: Visit, login: string, path: string): Promise<Page> {
    await signInOnPage(page, world.origin, login, path);
    return page;
  }

  const { stop } = world;
  return {
    ...world,
    browser,
    visit,
    signInAs,
    stop: async () => {
      await browser.close();
      await stop();
    },
  };
}

/** Signs in at the provider `corp` by its forms, and waits for the wanted path. */
export async function signInOnPage(page: Page, origin: string, login: string, path: string): Promise<void> {
  await page.goto(origin + path);
  await page.getByRole('link', { name: 'Sign in with corp' }).click();
  await page.locator('input[name=login]').fill(login);
  await page.locator('input[name=password]').fill('any');
  await page.locator('button[type=submit]').click();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.waitForURL(origin + path);
}

export interface Site {
  readonly origin: string;
  /** Page to show at every path from now on. */
  readonly show: (html: string) => void;
  /** Paths that browsers asked for. */
  readonly asked: readonly string[];
  readonly close: () => void;
}

/** Somebody else's site. @param host `127.0.0.1` is the same site as the page's, at another port; `localhost` is another */
export async function openSite(host: 'localhost' | '127.0.0.1'): Promise<Site> {
  let shown = '';
  const asked: string[] = [];
  const server: Server = createServer(({ url = '' }, response) => {
    asked.push(url);
    response.writeHead(200, { 'content-type': 'text/html' }).end(shown);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://${host}:${(server.address() as AddressInfo).port}`,
    show: (html) => {
      shown = html;
    },
    asked,
    close: () => server.close(),
  };
}
