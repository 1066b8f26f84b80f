// The shell: header, navigation, and the screen of the address.
import { h, render } from './vendor/preact.js';
import { signal } from './vendor/signals.js';
import { useEffect } from './vendor/preact-hooks.js';
import { tags } from './ui/tags.js';
import { path, go, to } from './ui/place.js';
import { Connection } from './ui/state.js';
import { Toasts, failed, toast } from './ui/toast.js';
import { Confirmation, Dialog } from './ui/dialog.js';
import { Palette, open } from './ui/palette.js';
import { listen, single } from './ui/keys.js';
import { theme } from './ui/theme.js';
import { client, signedOut } from './live/api.js';
import { capturing } from './live/capturing.js';
import { outdated } from './live/link.js';
import { check, known, may, me, signInOnce } from './live/session.js';
import { SignInDialog, SignInPage } from './screens/sign-in.js';

const { div, header, a, nav, ul, li, main, button, h1, h2, p, small, kbd, table, tbody, tr, td, label, input, span } = tags;

/** @typedef {{ id: string, name: string, key: string, load: () => Promise<{ default: any }>, role?: string }} Screen */
/** @type {Screen[]} */
const SCREENS = [
  { id: 'overview', name: 'Overview', key: 'h', load: () => import('./screens/overview.js') },
  { id: 'vehicles', name: 'Vehicles', key: 'v', load: () => import('./screens/vehicles.js') },
  { id: 'commands', name: 'Commands', key: 'm', load: () => import('./screens/commands.js') },
  { id: 'chat', name: 'Chat', key: 'c', load: () => import('./screens/chat.js') },
  { id: 'rooms', name: 'Rooms', key: 'r', load: () => import('./screens/rooms.js') },
  { id: 'captions', name: 'Captions', key: 't', load: () => import('./screens/captions.js') },
  { id: 'topics', name: 'Topics', key: 'i', load: () => import('./screens/topics.js') },
  { id: 'account', name: 'Account', key: 'a', load: () => import('./screens/account.js') },
  { id: 'admin', name: 'Admin', key: 's', load: () => import('./screens/admin.js'), role: 'admin' },
];
const mine = () => SCREENS.filter((screen) => !screen.role || may(screen.role));
const loaded = signal(/** @type {Record<string, any>} */ ({}));
const broken = signal(/** @type {string | null} */ (null));
const help = signal(false);
const notice = signal('');

/** A screen's code is fetched when it is first shown, and all of them when the browser has nothing else to do. */
async function fetchScreen(/** @type {Screen} */ screen) {
  if (loaded.peek()[screen.id]) return;
  try { const code = await screen.load(); loaded.value = { ...loaded.peek(), [screen.id]: code.default }; } catch { broken.value = screen.id; outdated.value = outdated.peek() || client.state === 'live'; }
}

function Body() {
  const id = path.value[0] ?? 'overview', screen = mine().find((one) => one.id === id), part = path.value[1];
  // Navigations that do not fit scroll sideways; where the user is stays in sight. `scrollIntoView` would move the place of the focus, too.
  useEffect(() => {
    for (const nav of document.querySelectorAll('nav')) {
      const all = nav.getBoundingClientRect(), one = nav.querySelector('[aria-current=page]')?.getBoundingClientRect();
      if (one) nav.scrollLeft += one.left - all.left - (all.width - one.width) / 2;
    }
  }, [id, part, Boolean(loaded.value[id])]);
  useEffect(() => { if (screen) void fetchScreen(screen); document.title = `${screen?.name ?? 'Not found'} · Turnpike`; }, [id]);
  if (!screen) return div({ class: 'scroll' }, div({ class: 'empty' }, h1(null, 'Not found'), p(null, 'There is no such screen, or it needs another role.'), to('', { class: 'button' }, 'Overview')));
  const Shown = loaded.value[id];
  if (Shown) return h(Shown, { key: id });
  return div({ class: 'scroll' }, broken.value === id
    ? div({ class: 'empty' }, h1(null, screen.name), p(null, 'This screen could not be loaded.'), button({ type: 'button', onClick: () => location.reload() }, 'Reload'))
    : p({ class: 'muted' }, 'Loading…'));
}

const Help = () => (help.value ? h(Dialog, { title: 'Keys', onClose: () => { help.value = false; } }, h2(null, 'Keys'),
  table({ class: 'keys' }, tbody(null, [['Ctrl K', 'Go to a screen, vehicle or conversation'], ['?', 'This list'], ['/', 'Search'], ['j  k', 'Next and previous row'], ['Enter', 'Open the row'], ['n', 'New'], ['Ctrl Enter', 'Send'], ['Esc', 'Close'],
    ...mine().map((screen) => [`g ${screen.key}`, screen.name])].map(([key, what]) => tr({ key }, td(null, kbd(null, key)), td(null, what))))),
  label({ class: 'check' }, input({ type: 'checkbox', checked: single.value, onChange: (event) => { single.value = event.currentTarget.checked; } }), ' Keys without Ctrl'),
  div({ class: 'buttons' }, button({ type: 'button', onClick: (event) => event.currentTarget.closest('dialog')?.close() }, 'Close'))) : null);

const choices = () => [
  ...mine().map((screen) => ({ name: screen.name, kind: 'screen', keys: `g ${screen.key}`, run: () => go(screen.id === 'overview' ? '' : screen.id) })),
  { name: 'New conversation', kind: 'action', run: () => go('chat') },
  ...['light', 'dark', 'system'].map((name) => ({ name: `Colours: ${name}`, kind: 'action', run: () => { theme.value = name; } })),
  { name: 'Keys', kind: 'help', keys: '?', run: () => { help.value = true; } },
  { name: 'HTTP API', kind: 'help', run: () => { location.assign('/docs/'); } },
];

function Shell() {
  if (!known.value) return div({ class: 'door' }, p({ class: 'muted' }, 'Connecting…'));
  if (!me.value) return h(SignInPage, { notice: notice.value });
  const current = path.value[0] ?? 'overview';
  return [div({ class: 'shell', inert: signedOut.value },
    a({ class: 'skip', href: '#main' }, 'Skip to content'),
    header({ class: 'top' }, to('', { class: 'brand' }, 'Turnpike'), span({ class: 'grow' }),
      outdated.value ? button({ type: 'button', class: 'primary small', onClick: () => location.reload() }, 'New version: reload') : null,
      capturing.value ? to(`captions/${capturing.value.id}`, { class: 'state bad' }, capturing.value.kind === 'microphone' ? 'Microphone on' : 'Sending a file') : null,
      h(Connection, null),
      to('account', { class: 'me muted cut wide-only', title: 'Your account' }, me.value.username),
      button({ type: 'button', class: 'wide-only', 'aria-keyshortcuts': 'Control+K', onClick: () => { open.value = true; } }, 'Go to… ', kbd(null, 'Ctrl K')),
      button({ type: 'button', class: 'narrow-only', 'aria-label': 'Go to', onClick: () => { open.value = true; } }, '⌕')),
    nav({ 'aria-label': 'Main' }, ul(null, mine().map((screen) =>
      li({ key: screen.id }, to(screen.id === 'overview' ? '' : screen.id, { 'aria-current': current === screen.id ? 'page' : undefined }, screen.name, small({ class: 'mono', 'aria-hidden': true }, `g ${screen.key}`)))))),
    main({ id: 'main', tabIndex: -1 }, h(Body, null))),
  h(Palette, { own: choices() }), h(Help, null), h(Confirmation, null), h(SignInDialog, null), h(Toasts, null)];
}

listen({
  palette: () => { open.value = me.peek() ? !open.peek() : false; },
  help: () => { help.value = true; },
  place: (letter) => { const screen = mine().find((one) => one.key === letter); if (screen) go(screen.id === 'overview' ? '' : screen.id); return Boolean(screen); },
});

async function start() {
  // A link that signs in once. The code is taken out of the address before anything else happens; a fragment is never sent.
  const code = new URLSearchParams(location.hash.slice(1)).get('code');
  if (code) history.replaceState(null, '', location.pathname);
  render(h(Shell, null), /** @type {Element} */ (document.getElementById('app')));
  if (code) {
    try { await signInOnce(code); go('', { replace: true }); return; } catch { notice.value = 'This link was used, has expired, or is not for this machine. Sign in with the password.'; }
  }
  for (let pause = 300; ; pause = Math.min(5000, pause * 2)) {
    try { await check(); return; } catch { await new Promise((resolve) => { setTimeout(resolve, pause); }); }
  }
}

addEventListener('unhandledrejection', (event) => { event.preventDefault(); failed(event.reason); });
addEventListener('offline', () => toast('This device is offline. What you type is kept.'));
void start().then(() => { const idle = window.requestIdleCallback ?? setTimeout; idle(() => { if (me.peek()) for (const screen of mine()) void fetchScreen(screen); }); });
