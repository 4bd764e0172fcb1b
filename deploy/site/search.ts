/** Sections of a page that the site's search finds by themselves. */

export interface Section {
  readonly anchor: string;
  /** Titles from the page's down to the section's own. */
  readonly titles: string[];
  readonly text: string;
}

/**
 * Splits a page whose tables have rows with anchors, so that each row is found by its own name.
 * @param html rendered Markdown
 * @returns undefined for other pages, which are split at headings
 */
export function splitIntoSections(_file: string, html: string): Section[] | undefined {
  if (!html.includes('<td><a id="')) return undefined;
  const sections: Section[] = [];
  let titles: string[] = [];
  for (const [, level, id, heading, row] of html.matchAll(
    /<h([1-3]) id="([^"]+)"[^>]*>(.*?)<a class="header-anchor".*?<\/h\1>|<tr>(.*?)<\/tr>/gs,
  )) {
    if (row === undefined) {
      titles = [...titles.slice(0, Number(level) - 1), textOf(heading!)];
      sections.push({ anchor: id!, titles, text: titles.at(-1)! });
    } else
      for (const [, anchor] of row.matchAll(/<a id="([^"]+)">/g))
        sections.push({ anchor: anchor!, titles: [...titles, anchor!], text: textOf(row) });
  }
  return sections;
}

function textOf(html: string): string {
  return html
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim();
}
