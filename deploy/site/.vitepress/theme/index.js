/** VitePress' default theme, with one sidebar for all pages of a tab. */
import DefaultTheme from 'vitepress/theme';
import './style.css';

/** @type {import('vitepress').Theme} */
export default {
  extends: DefaultTheme,
  enhanceApp({ siteData }) {
    const { themeConfig } = siteData.value;
    const sidebar = Object.fromEntries(
      Object.entries(themeConfig.sidebarOf).map(([path, index]) => [`/${path}`, themeConfig.sidebars[index]]),
    );
    siteData.value = { ...siteData.value, themeConfig: { ...themeConfig, sidebar } };
  },
};
