/** Provides a template literal for HTML that escapes every value, so that callers cannot forget to do so. */

/** HTML that is safe to insert without escaping. */
export interface SafeHtml {
  readonly markup: string;
}

type Value = string | number | SafeHtml | readonly SafeHtml[];

/**
 * Builds HTML from a template. Strings are escaped so that they can be used as element content and inside double-quoted
 * attribute values.
 * @example
 *   html`<p>${'<script>'}</p>`.markup; // => '<p>&lt;script&gt;</p>'
 */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): SafeHtml {
  return { markup: parts.reduce((text, part, at) => `${text}${formatValue(values[at - 1]!)}${part}`) };
}

/** Marks constant text as safe HTML. The text itself is not escaped. */
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
