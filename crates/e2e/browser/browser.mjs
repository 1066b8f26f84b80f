// Debian's Chromium, driven by playwright-core: pages that notice every console error and every violation of the policy.
import { existsSync } from 'node:fs';
import { PASSWORD, eventually } from './harness.mjs';

const packages = process.env['TURNPIKE_TEST_NODE_PACKAGES'];
if (!packages) throw new Error('TURNPIKE_TEST_NODE_PACKAGES is not set: ./scripts/fetch node browser crates/e2e/browser prints the directory');
const { chromium } = await import(`${packages}/node_modules/playwright-core/index.mjs`);
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));
if (!executablePath) throw new Error('Chromium is missing: ./scripts/test installs it as root on Debian; elsewhere, install the package chromium');

export const launch = (more = []) => chromium.launch({ executablePath, args: ['--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), ...more] });

/** A browser profile of its own, whose pages collect what must not happen. */
export async function visitor(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', ...options });
  const faults = [];
  await context.addInitScript(() => { document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`)); });
  const open = async (path = '') => {
    const page = await context.newPage();
    page.setDefaultTimeout(45_000); // a wait ends when its condition is met; a busy machine takes longer
    // A refused or cut request is logged by the browser itself; tests that cause one ask for it.
    page.on('console', (message) => { if (['error', 'warning'].includes(message.type()) && !/Failed to load resource|WebSocket connection to/.test(message.text())) faults.push(message.text()); });
    page.on('pageerror', (error) => faults.push(String(error.stack)));
    await page.goto(`${url}/console/${path}`);
    return page;
  };
  const signIn = async (path = '', name = 'admin', password = PASSWORD) => {
    const page = await open(path);
    await page.fill('input[name=username]', name);
    await page.fill('input[name=password]', password);
    await page.click('button[type=submit]');
    await page.waitForSelector('.shell');
    return page;
  };
  return { context, faults, open, signIn };
}

export const live = (page) => page.waitForSelector('.connection [data-state=live]');
/** The text of the last answer, as shown. */
export const lastAnswer = (page) => page.locator('.bubble.assistant .prose').last().innerText();
export const answered = (page) => page.waitForFunction(() => { const all = document.querySelectorAll('.bubble.assistant'); return all.length > 0 && all[all.length - 1].getAttribute('data-state') !== 'generating'; }, null, { timeout: 90_000 });

export async function axe(page) {
  await page.evaluate((await import('node:fs')).readFileSync(`${packages}/node_modules/axe-core/axe.min.js`, 'utf8'));
  return page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
    return violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 120)).join(' | ')}`);
  });
}

/** The page in both themes, wide and as narrow as a telephone: no overflow, no fault of accessibility. */
export async function fitsAndIsAccessible(page, name) {
  for (const [colorScheme, width] of [['light', 1280], ['dark', 1280], ['light', 360], ['dark', 320]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 740 });
    // During the transition to another theme, colours are between the two.
    await page.evaluate(() => new Promise((frame) => { requestAnimationFrame(() => requestAnimationFrame(frame)); }));
    await page.waitForFunction(() => document.getAnimations().every((one) => one.playState === 'finished' || one.effect?.getComputedTiming().iterations === Infinity));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) throw new Error(`${name} is ${wide} px too wide at ${width}`);
    const found = await axe(page);
    if (found.length) throw new Error(`${name}, ${colorScheme}, ${width} px: ${found.join('\n')}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 800 });
}
export { eventually, PASSWORD };
