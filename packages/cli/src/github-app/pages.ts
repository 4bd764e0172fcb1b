/** Pages for the browser on the loopback interface. */
import { PERMISSIONS } from './permissions.ts';

export interface StartPage {
  /** Target of the form. */
  readonly action: string;
  /** Manifest as JSON. */
  readonly manifest: string;
  readonly organization: string | undefined;
}

/** Renders the page with the App's permissions and a form that sends the manifest to GitHub. */
export function startPage({ action, manifest, organization }: StartPage): string {
  const rows = PERMISSIONS.map(
    ({ name, level, of, reason, onlyFor }) =>
      `<tr><td><code>${name}</code>: ${level}<td>${of}<td>${escaped(reason)}${onlyFor === undefined ? '' : ` (only for ${escaped(onlyFor)})`}`,
  );
  return page(
    "Register your broker's GitHub App",
    `<p>It will belong to ${organization === undefined ? 'you' : `the organization <b>${escaped(organization)}</b>`}. It can only
read. It has no webhook and subscribes to no events.
<table><tr><th>Permission<th>of<th>Why${rows.join('')}</table>
<p>GitHub shows the App again and asks for its name. It then redirects you back here, and meshpass stores the key.
<form method="post" action="${escaped(action)}">
<input type="hidden" name="manifest" value="${escaped(manifest)}">
<button>Continue to GitHub</button>
</form>`,
  );
}

/** Renders the page after a successful registration. */
export function createdPage({ slug, html_url: url }: { readonly slug: string; readonly html_url: string }): string {
  return page(
    `${escaped(slug)} is registered`,
    `<p>Its key is stored where meshpass runs. Now <a href="${escaped(url)}/installations/new">install it in your organization</a>, for
all repositories or for those whose Codespaces and jobs may join. The terminal shows the next steps.`,
  );
}

/** Renders an error page. */
export function failedPage(why: string): string {
  return page('Something went wrong', `<p>${escaped(why)}`);
}

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>meshpass</title>
<style>body{font:16px/1.5 sans-serif;max-width:48rem;margin:3rem auto;padding:0 1rem}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}button{font:inherit;padding:.5rem 1rem}</style>
<h1>${title}</h1>
${body}
`;
}

function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (mark) => entities[mark]!);
}
