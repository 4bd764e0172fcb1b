/** Navigation of the site, in the form of VitePress' default theme. */
import { type Group, type Page, pagesOf, sitePathOf, type Tab } from './pages.ts';

export interface SidebarItem {
  readonly text: string;
  readonly link?: string;
  readonly items?: readonly SidebarItem[];
  readonly collapsed?: boolean;
}

export interface Navigation {
  readonly nav: readonly { readonly text: string; readonly link: string; readonly activeMatch: string }[];
  /** Sidebar of each tab. */
  readonly sidebars: readonly (readonly SidebarItem[])[];
  /** Index of the sidebar of each page, by its path on the site. */
  readonly sidebarOf: Readonly<Record<string, number>>;
}

/** Returns tabs as navigation. Sidebars are stored once, because every page of the site contains this. */
export function toNavigation(tabs: readonly Tab[]): Navigation {
  const paths = tabs.map((tab) => pagesOf([tab]).map(({ file }) => sitePathOf(file)));
  return {
    nav: tabs.map(({ text, groups }, index) => ({
      text,
      link: linkTo(groups[0]!.pages[0]!),
      activeMatch: `^/(${paths[index]!.map((path) => path.replace(/(index)?\.md$/, '')).join('|')})$`,
    })),
    sidebars: tabs.map(({ groups }) => groups.map(toGroup)),
    sidebarOf: Object.fromEntries(paths.flatMap((of, index) => of.map((path) => [path, index]))),
  };
}

function toGroup({ text, pages }: Group): SidebarItem {
  return { text, items: pages.map(toItem) };
}

function toItem(page: Page): SidebarItem {
  const { text, pages } = page;
  const capital = `${text[0]!.toUpperCase()}${text.slice(1)}`;
  const item = { text: capital, link: linkTo(page) };
  return pages.length === 0 ? item : { ...item, collapsed: true, items: pages.map(toItem) };
}

function linkTo({ file }: Page): string {
  return `/${sitePathOf(file).replace(/(index)?\.md$/, '')}`;
}
