/** HTML as a template literal that escapes every value, so that no caller can forget it. */

/** HTML that needs no escaping. */
export interface SafeHtml {
  readonly markup: string;
}

type Value = string | number | SafeHtml | readonly SafeHtml[];

/**
 * Builds HTML. Texts are escaped, for element content and for attribute values in double quotes.
 * @example
 *   html`<p>${'<script>'}</p>`.markup; // => '<p>&lt;script&gt;</p>'
 */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): SafeHtml {
  return { markup: parts.reduce((text, part, at) => `${text}${formatValue(values[at - 1]!)}${part}`) };
}

/** Marks constant text as HTML. */
export function rawHtml(text: string): SafeHtml {
  return { markup: text };
}

function formatValue(value: Value): string {
  if (typeof value === 'string') return value.replace(/[&<>"']/g, (one) => ENTITIES[one]!);
  if (typeof value === 'number') return String(value);
  return 'markup' in value ? value.markup : value.map(({ markup }) => markup).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
