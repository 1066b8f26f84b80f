// Pictures of every screen with something to show.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Turnpike, signIn, eventually } from '../../e2e/browser/harness.mjs';
import { answered, launch, live, visitor } from '../../e2e/browser/browser.mjs';

const folder = process.argv[2] ?? 'target/screenshots';
mkdirSync(folder, { recursive: true });
const server = await new Turnpike({ TURNPIKE_MOCK_DELAY_MS: '60' }).ready(), browser = await launch();
try {
  const admin = await signIn(server.url), [vehicle] = await eventually('vehicles', async () => { const all = await admin.get('/api/vehicles?status=connected'); return all.length > 2 && all; });
  const send = async (name, params) => (await admin.post('/api/commands', { vehicle_id: vehicle.id, command_name: name, command_params: { ecuAddress: '0x10', ...params } })).command_id;
  const command = await send('ReadDTC');
  await send('ReadDataByID', { dataId: '0xF190' });
  await send('ClearDTC');
  const { id } = await admin.post('/api/chat/conversations', { title: 'Why do brakes squeal?' });
  await admin.post(`/api/chat/conversations/${id}/messages`, { content: 'Repeat this:\n\n## Brakes\n\nWorn pads **squeal**. Check:\n\n- the wear indicator\n- dust on the disc\n\n```rust\nfn stop(speed: f64) -> bool {\n    speed < 0.1 // metres a second\n}\n```' });
  const { context, signIn: enter } = await visitor(browser, server.url), page = await enter();
  await live(page);
  const screens = { overview: '', vehicles: 'vehicles', vehicle: `vehicles/${vehicle.id}/${command}`, commands: 'commands', chat: `chat/${id}`, topics: `topics/response:${command}`, account: 'account', admin: 'admin/users' };
  for (const [name, path] of Object.entries(screens)) {
    await page.goto(`${server.url}/console/${path}`);
    await page.waitForSelector('main h1');
    await page.waitForFunction(() => !document.querySelector('main [aria-busy=true]'));
    if (name === 'chat') await answered(page);
    await page.waitForTimeout(400);
    for (const [look, colorScheme, width] of [['light', 'light', 1280], ['dark', 'dark', 1280], ['360', 'light', 360]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: width === 360 ? 740 : 800 });
      await page.waitForTimeout(150);
      await page.screenshot({ path: join(folder, `${name}-${look}.png`) });
    }
    await page.setViewportSize({ width: 1280, height: 800 });
  }
  await context.close();
  const stranger = await visitor(browser, server.url), door = await stranger.open();
  await door.waitForSelector('input[name=username]');
  await door.screenshot({ path: join(folder, 'sign-in-light.png') });
} finally { await browser.close(); await server.end(); }
console.log(folder);
