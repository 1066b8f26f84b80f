// Pictures of every screen with something to show, as WebP: ./scripts/screenshots. With TURNPIKE_CAPTIONS_MODEL, of captions, too.
import { mkdirSync, statSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Turnpike, signIn, eventually, PASSWORD } from '../../e2e/browser/harness.mjs';
import { answered, launch, live, visitor } from '../../e2e/browser/browser.mjs';

const folder = process.argv[2] ?? 'target/screenshots', model = process.env['TURNPIKE_CAPTIONS_MODEL'], recording = process.env['TURNPIKE_RECORDING'];
mkdirSync(folder, { recursive: true });
const server = await new Turnpike({ TURNPIKE_MOCK_DELAY_MS: '60', ...(model ? { TURNPIKE_CAPTIONS_MODEL: model } : {}) }).ready(), browser = await launch();
/** Chromium writes WebP itself; playwright does not offer it. */
async function picture(page, name) {
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: 78 });
  await session.detach();
  writeFileSync(join(folder, `${name}.webp`), Buffer.from(data, 'base64'));
}
try {
  const admin = await signIn(server.url), [vehicle] = await eventually('vehicles', async () => { const all = await admin.get('/api/vehicles?status=connected'); return all.length > 2 && all; });
  const send = async (name, params) => (await admin.post('/api/commands', { vehicle_id: vehicle.id, command_name: name, command_params: { ecuAddress: '0x10', ...params } })).command_id;
  const command = await send('ReadDTC');
  await send('ReadDataByID', { dataId: '0xF190' });
  await send('ClearDTC');
  const { id } = await admin.post('/api/chat/conversations', { title: 'Why do brakes squeal?' });
  await admin.post(`/api/chat/conversations/${id}/messages`, { content: 'Repeat this:\n\n## Brakes\n\nWorn pads **squeal**. Check:\n\n- the wear indicator\n- dust on the disc\n\n```rust\nfn stop(speed: f64) -> bool {\n    speed < 0.1 // metres a second\n}\n```' });
  const { id: room } = await admin.post('/api/rooms', { name: 'Workshop', description: 'Who repairs what', visibility: 'public' });
  for (const [username, said] of [['rosa', 'P0420 is back on the Kestrel. I replaced the sensor last week.'], ['olaf', 'Then it is the catalyst. I read the codes again at noon.']]) {
    await admin.post('/api/admin/users', { username, email: `${username}@example.com`, password: PASSWORD, role: 'operator' });
    await (await signIn(server.url, username)).post(`/api/rooms/${room}/messages`, { content: said });
  }
  await admin.post(`/api/rooms/${room}/messages`, { content: 'Good. Tell me what they say.' });
  const { context, signIn: enter } = await visitor(browser, server.url), page = await enter();
  await live(page);
  const screens = { overview: '', vehicles: 'vehicles', vehicle: `vehicles/${vehicle.id}/${command}`, commands: 'commands', chat: `chat/${id}`, rooms: `rooms/${room}`, topics: `topics/response:${command}`, account: 'account', admin: 'admin/users', connections: 'admin/connections' };
  if (model && recording) {
    await page.goto(`${server.url}/console/captions`);
    await page.setInputFiles('input[type=file]', recording);
    await page.waitForSelector('.cues[data-state=stopped]', { timeout: 60_000 });
    screens.captions = new URL(page.url()).pathname.slice('/console/'.length);
  }
  for (const [name, path] of Object.entries(screens)) {
    await page.goto(`${server.url}/console/${path}`);
    await page.waitForSelector('main h1');
    await live(page);
    await page.waitForFunction(() => !document.querySelector('main [aria-busy=true]'));
    if (name === 'chat') await answered(page);
    for (const [look, colorScheme, width] of [['light', 'light', 1280], ['dark', 'dark', 1280], ['360', 'light', 360]]) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize({ width, height: width === 360 ? 740 : 800 });
      await page.waitForTimeout(300); // the picture is for people; nothing depends on it
      await picture(page, `${name}-${look}`);
    }
    await page.setViewportSize({ width: 1280, height: 800 });
  }
  await context.close();
  const stranger = await visitor(browser, server.url), door = await stranger.open();
  await door.waitForSelector('input[name=username]');
  await picture(door, 'sign-in-light');
} finally { await browser.close(); await server.end(); }
const files = readdirSync(folder).filter((name) => name.endsWith('.webp'));
console.log(`${files.length} pictures, ${Math.round(files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0) / 1024)} KB, in ${folder}`);
