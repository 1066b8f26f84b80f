// Every screen in a real browser: what it shows, and that it is accessible, fits, and runs nothing foreign.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { Turnpike, signIn, eventually, PASSWORD } from '../../e2e/browser/harness.mjs';
import { answered, fitsAndIsAccessible, lastAnswer, launch, live, visitor } from '../../e2e/browser/browser.mjs';

let server, browser, admin, vehicle, command, conversation, room;
const HOSTILE = ['<img src=x onerror=window.__hit=1>', '<script>window.__hit=1</script>', '<svg onload=window.__hit=1>', '[a](javascript:window.__hit=1)', '[b](data:text/html,<script>1</script>)', '![c](x" onerror="window.__hit=1)', '<iframe srcdoc="<script>parent.__hit=1</script>">', '<style>*{display:none}</style>', '`<b onclick=window.__hit=1>`', '[d](JaVaScRiPt:window.__hit=1)', '<a href="javascript:window.__hit=1">e</a>', '[f](//evil.example/x)', '<math><mi xlink:href="data:x,<script>window.__hit=1</script>">', '\u202e<b>rtl</b>', '<form action=javascript:window.__hit=1><button>g']
  .join('\n\n');
const SCREENS = () => ['', 'vehicles', `vehicles/${vehicle.id}/${command}`, 'commands', `commands/${command}`, 'chat', `chat/${conversation}`, 'rooms', `rooms/${room}`, 'captions', 'topics', `topics/response:${command}`, 'account', 'admin/users', 'admin/services', 'admin/models', 'admin/connections', 'nothing'];

before(async () => {
  server = await new Turnpike({ TURNPIKE_LLM_SCRIPTED_DELAY_MS: '4' }).ready();
  admin = await signIn(server.url);
  vehicle = (await eventually('vehicles', async () => { const all = await admin.get('/api/vehicles?status=connected'); return all.length > 0 && all; }))[0];
  command = (await admin.post('/api/commands', { vehicle_id: vehicle.id, command_name: 'ReadDTC', command_params: { ecuAddress: '0x10' } })).command_id;
  conversation = (await admin.post('/api/chat/conversations', { title: '<img src=x onerror=window.__hit=1>' })).id;
  await admin.post(`/api/chat/conversations/${conversation}/messages`, { content: HOSTILE });
  room = (await admin.post('/api/rooms', { name: '<img src=x onerror=window.__hit=1>', visibility: 'public' })).id;
  await admin.post(`/api/rooms/${room}/messages`, { content: HOSTILE });
  browser = await launch();
});
after(async () => { await browser?.close(); await server?.end(); });

test('sign-in: a wrong password is told, the right one enters, and no token is anywhere (12)', async () => {
  const { open, faults, context } = await visitor(browser, server.url), page = await open('vehicles');
  await page.fill('input[name=username]', 'admin');
  await page.fill('input[name=password]', 'wrong');
  await page.keyboard.press('Enter');
  await page.waitForSelector('text=Invalid credentials');
  await page.fill('input[name=password]', PASSWORD);
  const [response] = await Promise.all([page.waitForResponse((one) => one.url().endsWith('/api/auth/login') && one.status() === 200), page.keyboard.press('Enter')]);
  assert.deepEqual(Object.keys(await response.json()).sort(), ['message', 'user']);
  await page.waitForSelector('table.list');
  await live(page);
  assert.equal(new URL(page.url()).pathname, '/console/vehicles', 'the deep link is kept');
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, location.href, document.documentElement.outerHTML, document.cookie]));
  const cookie = (await context.cookies()).find((one) => one.name === 'session_token');
  assert.ok(cookie.httpOnly && cookie.sameSite === 'Lax' && !kept.includes(cookie.value) && !/eyJ[\w-]+\./.test(kept));
  assert.deepEqual(faults, []);
  await context.close();
});

test('every screen, in each theme and width: accessible, without overflow, errors or violations (14 15 16 17)', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, server.url), page = await enter();
  for (const screen of SCREENS()) {
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.evaluate((path) => { history.pushState(null, '', `/console/${path}`); dispatchEvent(new PopStateEvent('popstate')); }, screen);
    await page.waitForSelector('main h1');
    await page.waitForFunction(() => !document.querySelector('main [aria-busy=true]'));
    await fitsAndIsAccessible(page, screen);
  }
  // 200 % zoom of 1280 px is a viewport of 640.
  await page.setViewportSize({ width: 640, height: 400 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.deepEqual(faults, []);
  await context.close();
});

test('hostile text is shown as text (13)', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, server.url), page = await enter(`chat/${conversation}`);
  await answered(page);
  assert.ok((await lastAnswer(page)).includes('onerror'), 'the text is there');
  await page.click('.bubble.user >> text=Edit');
  const found = await page.evaluate(() => ({ hit: window.__hit, elements: document.querySelectorAll('.bubble script, .bubble img, .bubble iframe, .bubble svg, .bubble style, .bubble form, .bubble math').length, links: [...document.querySelectorAll('.bubble a')].map((one) => one.protocol) }));
  assert.equal(found.hit, undefined);
  assert.equal(found.elements, 0);
  assert.ok(found.links.every((protocol) => /^https?:|mailto:/.test(protocol)), found.links.join());
  assert.deepEqual(await page.evaluate(() => { try { document.createElement('div').innerHTML = '<b>'; return 'allowed'; } catch (error) { return error.name; } }), 'TypeError', 'nothing can write HTML');
  assert.deepEqual(faults.filter((fault) => !fault.includes('TrustedHTML') && !fault.includes('trusted-types')), []);
  await context.close();
});

test('hostile text in every field of every answer and of every event is shown as text (13)', async () => {
  // Vehicles, rooms, transcripts, models, user agents: whatever another user or a connector can name.
  const texts = new Set(['make', 'model', 'vin', 'name', 'title', 'description', 'content', 'username', 'display_name', 'email', 'user_agent', 'gateway', 'owned_by', 'message_snippet', 'conversation_title', 'text', 'detail', 'error_message']);
  const poison = (value) => (typeof value === 'string' ? `${value} ${HOSTILE}` : Array.isArray(value) ? value.map(poison) : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, poison(one)])) : value);
  const poisoned = (text) => JSON.parse(text, (name, value) => (name === 'response' || name === 'topics' || (texts.has(name) && typeof value === 'string') ? poison(value) : value));
  const { signIn: enter, faults, context } = await visitor(browser, server.url, { userAgent: HOSTILE.slice(0, 34) }), page = await enter();
  await live(page);
  await context.route('**/api/**', async (route) => {
    const response = await route.fetch(), json = response.headers()['content-type']?.includes('json') ?? false;
    await route.fulfill(json && route.request().method() === 'GET' ? { response, json: poisoned(await response.text()) } : { response });
  });
  await context.routeWebSocket(/\/ws/, (socket) => { const up = socket.connectToServer(); up.onMessage((message) => socket.send(JSON.stringify(poisoned(String(message))))); });
  for (const screen of SCREENS()) {
    await page.goto(`${server.url}/console/${screen}`);
    await page.waitForSelector('main h1');
    await live(page);
    await page.waitForFunction(() => !document.querySelector('main [aria-busy=true]'));
    const found = await page.evaluate(() => ({ hit: window.__hit, elements: document.querySelectorAll('#app :is(script, img, iframe, svg, style, math, form[action])').length, links: [...document.querySelectorAll('#app a')].map((one) => one.protocol), text: document.querySelector('main').textContent.includes('onerror') }));
    assert.deepEqual([found.hit, found.elements], [undefined, 0], screen);
    assert.ok(found.links.every((protocol) => /^https?:|mailto:/.test(protocol)), `${screen}: ${found.links.join()}`);
    if (/^(vehicles|chat|rooms|admin.(users|models|connections))|^topics.response/.test(screen)) assert.ok(found.text, `${screen} shows the text`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${screen} is too wide`);
  }
  assert.deepEqual(faults, []);
  await context.close();
});

test('an admin sees every connection with its client and topics, and closes one', async () => {
  await admin.post('/api/admin/users', { username: 'vera', email: 'vera@example.com', password: PASSWORD });
  const own = await visitor(browser, server.url), other = await visitor(browser, server.url, { userAgent: '<img src=x onerror=window.__hit=1>' });
  const second = await other.signIn(`rooms/${room}`, 'vera');
  await second.waitForSelector('.talk-head:has-text("vera")');
  const page = await own.signIn('admin/connections');
  await page.fill('#search', 'vera');
  const rows = page.locator('tr[data-connection]');
  await page.waitForFunction(() => document.querySelectorAll('tr[data-connection]').length === 1);
  assert.match(await rows.innerText(), /vera[^]*127\.0\.0\.1[^]*<img src=x[^]*\/ws/);
  await rows.locator('summary').click();
  await rows.locator(`text=room:${room}`).waitFor();
  await fitsAndIsAccessible(page, 'a connection');
  const id = await rows.getAttribute('data-connection');
  await page.click('[aria-label="Close a connection of vera"]');
  await page.click('dialog >> text=Close connection');
  await page.waitForSelector(`[data-connection="${id}"]`, { state: 'detached' });
  await live(second); // its session goes on, so it connects again
  await eventually('the new connection', async () => { await page.click('text=Refresh'); return await rows.count() === 1; });
  await page.click('tr[data-connection] >> text=vera');
  await page.waitForSelector('text=Only the connections of one user');
  await page.fill('#search', 'nothing has this text');
  await page.waitForSelector('text=No connection matches.');
  assert.equal(await page.evaluate(() => window.__hit), undefined);
  assert.deepEqual([...own.faults, ...other.faults], []);
  await own.context.close();
  await other.context.close();
});

test('an analysis of health data is shown to its user and to nobody else', async () => {
  await admin.post('/api/admin/users', { username: 'hana', email: 'hana@example.com', password: PASSWORD });
  const { id } = await admin.post('/api/rooms', { name: 'health', visibility: 'public' });
  const one = await visitor(browser, server.url), other = await visitor(browser, server.url);
  const first = await one.signIn(`rooms/${id}`), second = await other.signIn(`rooms/${id}`, 'hana');
  for (const page of [first, second]) await page.waitForSelector('.talk-head:has-text("2 here")');
  await admin.post(`/api/rooms/${id}/insights`, { metric: 'sleep_efficiency', data_points: Array.from({ length: 24 }, (_, n) => ({ timestamp: 1_763_700_000 + n * 3600, value: 88 })) });
  await first.waitForSelector('.insight[data-source=statistics]');
  await first.waitForSelector('.insights:has-text("Only you see this")');
  await first.waitForSelector('.insights progress', { state: 'detached' });
  await fitsAndIsAccessible(first, 'an analysis');
  await admin.post(`/api/rooms/${id}/messages`, { content: 'after the analysis' });
  await second.waitForSelector('.said-by:has-text("after the analysis")');
  assert.equal(await second.locator('.insights').count(), 0);
  await first.click('.insights >> text=Dismiss');
  await first.waitForSelector('.insights', { state: 'detached' });
  assert.deepEqual([...one.faults, ...other.faults], []);
  await one.context.close();
  await other.context.close();
});

test('two people talk in a room: presence, typing, and messages without delay', async () => {
  await admin.post('/api/admin/users', { username: 'rosa', email: 'rosa@example.com', password: PASSWORD });
  const one = await visitor(browser, server.url), other = await visitor(browser, server.url);
  const first = await one.signIn(`rooms/${room}`), second = await other.signIn(`rooms/${room}`, 'rosa');
  await first.waitForSelector('.talk-head:has-text("2 here")');
  await second.locator('#say').pressSequentially('I am here');
  await first.waitForSelector('.typing:has-text("rosa is typing")');
  await second.press('#say', 'Enter');
  await first.waitForSelector('.said-by:has-text("I am here")');
  assert.equal(await first.locator('.said-by:has-text("I am here")').count(), 1);
  assert.equal(await first.evaluate(() => window.__hit), undefined);
  // A user who is mentioned gets a notice on every screen; in the room, the name is marked.
  await first.click('nav[aria-label=Main] >> text=Vehicles');
  await second.fill('#say', 'Please look, @admin.');
  await second.press('#say', 'Enter');
  await first.waitForSelector('.toast:has-text("rosa mentions you: Please look, @admin.")');
  await first.click('.toast >> text=Show');
  await first.waitForSelector('.said:has-text("Please look, @admin.") mark:text-is("@admin")');
  assert.equal(await second.locator('.said mark').count(), 0, 'it is the name of somebody else');
  assert.deepEqual([...one.faults, ...other.faults], []);
  await one.context.close();
  await other.context.close();
});

test('what changes between a list and its events is neither lost nor undone', async () => {
  await admin.post('/api/admin/users', { username: 'ines', email: 'ines@example.com', password: PASSWORD });
  const { id } = await admin.post('/api/rooms', { name: 'arrivals', visibility: 'public' });
  const slow = await visitor(browser, server.url), other = await visitor(browser, server.url);
  const page = await slow.signIn('rooms'), present = () => admin.get(`/api/rooms/${id}/users`);
  let received = '';
  page.on('websocket', (socket) => { socket.on('framereceived', ({ payload }) => { received += payload; }); });
  await page.reload();
  await live(page);
  // The answers of the lists are as old as the page: whoever comes and whatever is written meanwhile arrives as events before them.
  let release = () => {}, held = 0, arrived = 0;
  const later = new Promise((resolve) => { release = () => resolve(undefined); });
  const hold = async (/** @type {any} */ route) => { const response = await route.fetch(); held += 1; await later; await route.fulfill({ response }); arrived += 1; };
  await page.route(`**/api/rooms/${id}/users`, hold);
  await page.route(`**/api/rooms/${id}/messages*`, hold);
  await page.click('text=arrivals');
  await eventually('both lists', async () => held === 2);
  await eventually('one is here', async () => (await present()).users.length === 1);
  const second = await other.signIn(`rooms/${id}`, 'ines');
  await eventually('two are here', async () => (await present()).users.length === 2);
  await second.fill('#say', 'Am I late?');
  await second.press('#say', 'Enter');
  await second.waitForSelector('.said-by:has-text("Am I late?")');
  await eventually('the events', async () => received.includes('Am I late?'));
  // What arrives is shown with the next picture.
  const pictures = () => page.evaluate(() => new Promise((frame) => requestAnimationFrame(() => requestAnimationFrame(frame))));
  await pictures();
  release();
  await eventually('the late answers', async () => arrived >= 2);
  await pictures();
  await page.waitForSelector('.talk-head:has-text("2 here")');
  await page.waitForSelector('.said-by:has-text("Am I late?")');
  await slow.context.close();
  // The lists arrive before the socket is open: what happens until then is in no event.
  const early = await visitor(browser, server.url), late = await early.signIn('rooms');
  let connect = () => {};
  const open = new Promise((resolve) => { connect = () => resolve(undefined); });
  await late.routeWebSocket(/\/ws/, async (socket) => { await open; socket.connectToServer(); });
  await late.goto(`${server.url}/console/rooms/${id}`);
  await late.waitForSelector('.talk-head:has-text("1 here")');
  await second.fill('#say', 'And now?');
  await second.press('#say', 'Enter');
  await second.waitForSelector('.said-by:has-text("And now?")');
  connect();
  await late.waitForSelector('.said-by:has-text("And now?")');
  await late.waitForSelector('.talk-head:has-text("2 here")');
  await early.context.close();
  await other.context.close();
});

test('members of a room: invited by name, given a role, removed; the room gets another name', async () => {
  await admin.post('/api/admin/users', { username: 'mona', email: 'mona@example.com', password: PASSWORD });
  const { id } = await admin.post('/api/rooms', { name: 'Night shift' });
  const owner = await visitor(browser, server.url), member = await visitor(browser, server.url);
  const first = await owner.signIn(`rooms/${id}`), second = await member.signIn(`rooms/${id}`, 'mona');
  await second.waitForSelector('main >> text=All rooms'); // a private room does not exist for others
  await first.click('text=Members (1)');
  await first.fill('dialog input[name=username]', 'nobody-has-this-name');
  await first.click('dialog button:text-is("Invite")');
  await first.waitForSelector('dialog .wrong:has-text("no user has this name")');
  await first.fill('dialog input[name=username]', 'Mona');
  await first.click('dialog button:text-is("Invite")');
  await first.waitForSelector('[data-member=mona]');
  await fitsAndIsAccessible(first, 'members');
  await second.reload();
  await second.waitForSelector('h1:has-text("Night shift")');
  await second.click('text=Members (2)');
  await second.waitForSelector('text=Owners and moderators invite people.');
  await first.selectOption('[data-member=mona] select', 'moderator');
  await second.waitForSelector('dialog button:text-is("Invite")');
  await second.keyboard.press('Escape');
  await first.keyboard.press('Escape');
  await first.click('.talk-head >> text=Change');
  await first.fill('dialog input[name=name]', HOSTILE.slice(0, 40));
  await first.click('dialog >> text=Save');
  await second.waitForSelector('.talk-head h1:has-text("onerror")');
  await first.click('text=Members (2)');
  await first.click('[aria-label="Remove mona"]');
  await first.click('dialog button:text-is("Remove"):not([aria-label])');
  await first.waitForSelector('[data-member=mona]', { state: 'detached' });
  await second.waitForSelector('.talk > .note:has-text("not a member")');
  for (const page of [first, second]) assert.equal(await page.evaluate(() => window.__hit), undefined);
  assert.deepEqual([...owner.faults, ...member.faults], []);
  await owner.context.close();
  await member.context.close();
});

test('the keyboard alone: palette, keys, forms, a command, an answer (18)', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, server.url), page = await enter();
  await live(page);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Control+k');
  await page.keyboard.type(vehicle.vin);
  await page.waitForSelector(`[role=option]:has-text("${vehicle.vin}")`);
  await page.keyboard.press('Enter');
  await page.waitForSelector('select[name=command_name]');
  await page.focus('input[name=ecuAddress]');
  await page.keyboard.press('Control+Enter');
  await page.waitForSelector('.head [data-state=completed]');
  await eventually('the events', async () => (await page.locator('.timeline [data-offset]').count()) >= 3);
  await page.evaluate(() => document.activeElement.blur());
  // On a stalled machine, more than the time for the second key can pass between the two.
  for (let tries = 0; tries < 5 && !page.url().endsWith('/chat'); tries++) await page.keyboard.type('gc');
  await page.waitForSelector('#say');
  await page.focus('#say');
  await page.keyboard.type('Write 7 words');
  await page.keyboard.press('Enter');
  await answered(page);
  assert.equal(await lastAnswer(page), 'word-1 word-2 word-3 word-4 word-5 word-6 word-7');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('?');
  await page.waitForSelector('dialog:has-text("Keys without Ctrl")');
  await page.uncheck('dialog input[type=checkbox]');
  await page.keyboard.press('Escape');
  await page.keyboard.type('gv');
  assert.ok(page.url().includes('/chat/'), 'single keys are off');
  assert.deepEqual(faults, []);
  await context.close();
});

test('an unsafe command and a deletion ask for the name; an operator may not send it', async () => {
  await admin.post('/api/admin/users', { username: 'olga', email: 'olga@example.com', password: PASSWORD, role: 'operator' });
  const { signIn: enter, context } = await visitor(browser, server.url), page = await enter(`vehicles/${vehicle.id}`);
  await page.selectOption('select[name=command_name]', 'ECUReset');
  await page.click('text=Send command');
  await page.click('dialog >> text=Send it', { force: true });
  assert.ok(await page.locator('dialog').isVisible(), 'nothing was typed');
  await page.fill('#typed', vehicle.vin);
  await page.click('dialog >> text=Send it');
  await page.waitForSelector('.head [data-state=completed]');
  await context.close();
  const operator = await visitor(browser, server.url), other = await operator.signIn(`vehicles/${vehicle.id}`, 'olga');
  await other.selectOption('select[name=command_name]', 'ECUReset');
  await other.waitForSelector('text=needs the role engineer');
  assert.equal(await other.locator('nav >> text=Admin').count(), 0);
  await operator.context.close();
});

test('a list that is shown is loaded again from time to time', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, server.url);
  await context.clock.install();
  const page = await enter('admin/users');
  await page.waitForSelector('tr:has-text("olga")');
  let asked = 0, loaded = 0;
  const listed = (/** @type {any} */ request) => new URL(request.url()).pathname === '/api/admin/users';
  page.on('request', (request) => { if (listed(request)) asked += 1; });
  page.on('requestfinished', (request) => { if (listed(request)) loaded += 1; });
  // From here the test says what time it is in the page, and the list was loaded just now.
  const before = asked;
  await context.clock.pauseAt(Date.now() + 3_600_000);
  await eventually('the list is loaded', () => asked > before && loaded === asked);
  const first = asked;
  await admin.post('/api/admin/users', { username: 'nele', email: 'nele@example.com', password: PASSWORD });
  await context.clock.runFor(8_000);
  assert.equal(asked, first, 'not all the time');
  await context.clock.runFor(4_000);
  await page.waitForSelector('tr:has-text("nele")');
  assert.equal(asked, first + 1);
  assert.deepEqual(faults, []);
  await context.close();
});

test('account and admin: a key shown once, a session ended, a user created, changed and deleted', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, server.url), page = await enter('account');
  await page.fill('input[name=name]', 'build');
  await page.click('button:has-text("Create key")');
  const key = await page.locator('.secret code').innerText();
  const response = await fetch(`${server.url}/api/auth/me`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal((await response.json()).username, 'admin');
  await page.click('text=I have it');
  await page.waitForSelector('.secret', { state: 'detached' });
  assert.ok(!(await page.content()).includes(key));
  await page.click('button:has-text("Revoke")');
  await page.fill('#typed', 'build');
  await page.click('dialog button[type=submit]');
  await page.waitForSelector('text=No key yet.');
  await page.click('nav >> text=Admin');
  await page.click('text=New user');
  await page.fill('dialog input[name=username]', 'uma');
  await page.fill('dialog input[name=email]', 'uma@example.com');
  await page.fill('dialog input[name=password]', 'short');
  await page.click('text=Create user');
  await page.waitForSelector('dialog .wrong');
  await page.fill('dialog input[name=password]', PASSWORD);
  await page.click('text=Create user');
  await page.click('[aria-label="Edit uma"]');
  await page.selectOption('dialog select[name=role]', 'engineer');
  await page.click('dialog >> text=Save');
  await page.waitForSelector('tr:has-text("uma") >> text=engineer');
  await page.click('[aria-label="Edit uma"]');
  await page.click('dialog >> text=Delete');
  await page.fill('#typed', 'uma');
  await page.click('dialog >> text=Delete user');
  await page.waitForSelector('tr:has-text("uma")', { state: 'detached' });
  assert.deepEqual(faults, []);
  await context.close();
});

test('an admin loads another model on a server that can, and unloads it', async () => {
  // What TabbyAPI answers.
  let loaded = 'small-7b';
  const models = createServer((request, response) => {
    const send = (status, body) => { response.writeHead(status, { 'content-type': 'application/json' }); response.end(JSON.stringify(body)); };
    let body = '';
    request.on('data', (part) => { body += part; });
    request.on('end', () => {
      if (request.url === '/v1/models') return send(200, { object: 'list', data: ['small-7b', 'large-70b'].map((id) => ({ id, object: 'model', owned_by: 'tabbyAPI' })) });
      if (request.url === '/v1/model') return loaded ? send(200, { id: loaded, object: 'model' }) : send(400, { detail: 'No models are currently loaded.' });
      if (request.url === '/v1/model/load') { loaded = JSON.parse(body).model_name; return send(200, { status: 'finished' }); }
      if (request.url === '/v1/model/unload') { loaded = null; return send(200, {}); }
      return send(404, { detail: 'Not Found' });
    });
  });
  await new Promise((resolve) => { models.listen(0, '127.0.0.1', resolve); });
  const other = await new Turnpike({ TURNPIKE_LLM_URL: `http://127.0.0.1:${models.address().port}/v1` }).ready();
  const { signIn: enter, faults, context } = await visitor(browser, other.url), page = await enter('admin/models');
  try {
    await page.waitForSelector('tr:has-text("small-7b") [data-state=active]');
    await page.click('tr:has-text("large-70b") button:text-is("Load")');
    await page.waitForSelector('.toast:has-text("large-70b is loaded.")');
    await page.waitForSelector('tr:has-text("large-70b") [data-state=active]');
    assert.equal(loaded, 'large-70b');
    await page.click('tr:has-text("large-70b") button:text-is("Unload")');
    await page.waitForSelector('.toast:has-text("The model was unloaded.")');
    assert.equal(loaded, null);
    assert.deepEqual(faults, []);
  } finally { await context.close(); await other.end(); models.close(); }
});

test('what is shown copies as curl, and the copied line runs', async () => {
  const { signIn: enter, context } = await visitor(browser, server.url), page = await enter('vehicles');
  await page.click('summary:has-text("command line")');
  const line = await page.locator('.copy-as pre').first().innerText();
  const run = (text) => execFileSync('sh', ['-c', text], { env: { PATH: process.env['PATH'], TURNPIKE_TOKEN: admin.token } }).toString();
  assert.equal(JSON.parse(run(line)).length, 3);
  const services = new URL('../../../proto/turnpike/', import.meta.url), protos = readdirSync(services, { recursive: true }).filter((name) => name.endsWith('.proto')).map((name) => readFileSync(new URL(name, services), 'utf8'));
  const copied = new Set();
  for (const screen of SCREENS().filter((one) => one !== 'nothing')) {
    await page.goto(`${server.url}/console/${screen}`);
    await page.waitForSelector('main h1');
    await page.waitForFunction(() => !document.querySelector('main [aria-busy=true]'));
    const summaries = page.locator('main summary:has-text("command line")');
    for (let i = 0; i < await summaries.count(); i++) await summaries.nth(i).click();
    await page.waitForFunction(() => [...document.querySelectorAll('main .copy-as')].every((one) => one.querySelector('pre'))); // they are opened by an event
    for (const text of await page.locator('.copy-as pre').allInnerTexts()) copied.add(text);
  }
  assert.ok(copied.size >= 25, `${copied.size} lines`);
  for (const text of copied) {
    assert.ok(text.includes('$TURNPIKE_TOKEN') && !text.includes(admin.token), text);
    const [, name, service, rpc] = / turnpike\.(\w+)\.v1\.(\w+)\/(\w+)$/.exec(text) ?? [];
    if (text.startsWith('grpcurl')) assert.ok(protos.some((proto) => proto.includes(`package turnpike.${name}.v1;`) && proto.includes(`service ${service} {`) && proto.includes(`rpc ${rpc}(`)), text);
    else if (!/ -X | -d |curl -sSN/.test(text)) JSON.parse(run(text.replace('curl ', 'curl -f ')));
  }
  await context.close();
});

test('a plain name of the network has no clipboard and no secure origin, and works (21)', async () => {
  const own = await launch(['--host-resolver-rules=MAP turnpike.lan 127.0.0.1']);
  const { signIn: enter, faults, context } = await visitor(own, server.url.replace('127.0.0.1', 'turnpike.lan')), page = await enter('chat');
  assert.equal(await page.evaluate(() => isSecureContext), false);
  await page.fill('#say', 'Write 3 words');
  await page.keyboard.press('Enter');
  await answered(page);
  assert.equal(await lastAnswer(page), 'word-1 word-2 word-3');
  assert.deepEqual(faults, []);
  await context.close();
  await own.close();
});

test('a reader who scrolls up is never pulled back, and is taken along again at the end (5)', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, server.url), page = await enter('chat');
  await page.fill('#say', 'Write 20000 words'); // it still grows on a slow machine
  await page.press('#say', 'Enter');
  const box = page.locator('.talk .scroll');
  await page.waitForFunction(() => { const one = document.querySelector('.talk .scroll'); return one && one.scrollHeight > one.clientHeight + 300; });
  await box.hover();
  await page.mouse.wheel(0, -250);
  await page.waitForSelector('.jump');
  const top = await box.evaluate((element) => element.scrollTop);
  await page.waitForFunction((height) => document.querySelector('.talk .scroll').scrollHeight > height + 100, await box.evaluate((element) => element.scrollHeight));
  // The wheel itself may still move it up.
  assert.ok(await box.evaluate((element) => element.scrollTop) <= top, 'the reader is not pulled down');
  await page.waitForSelector('.jump');
  await page.click('.jump');
  await page.waitForSelector('.jump', { state: 'detached' });
  await page.click('.composer >> text=Stop');
  await answered(page);
  await page.waitForFunction(() => { const one = document.querySelector('.talk .scroll'); return one.scrollHeight - one.scrollTop - one.clientHeight < 4; });
  assert.deepEqual(faults, []);
  await context.close();
});

test('reduced motion moves nothing (19)', async () => {
  const { signIn: enter, context } = await visitor(browser, server.url, { reducedMotion: 'reduce' }), page = await enter(`chat/${conversation}`);
  await page.waitForSelector('.bubble');
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  assert.ok(await page.evaluate(() => [...document.querySelectorAll('*')].every((one) => getComputedStyle(one).transitionDuration.split(',').every((time) => parseFloat(time) === 0))));
  await context.close();
});

test('the HTTP API is described at /docs, under a policy of its own and without a violation', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, server.url), page = await enter();
  const response = await page.goto(`${server.url}/docs/`);
  assert.match(response.headers()['content-security-policy'], /script-src 'self';/);
  await page.waitForSelector('.opblock:has-text("/api/commands")');
  assert.deepEqual(faults, []);
  await context.close();
});

test('a page of another origin gets no socket and changes nothing (25)', async () => {
  const { signIn: enter, context } = await visitor(browser, server.url);
  await enter();
  const cookie = (await context.cookies()).map((one) => `${one.name}=${one.value}`).join('; ');
  const status = (path, headers, method = 'GET') => new Promise((resolve, reject) => { const sent = request(server.url + path, { method, headers }, (response) => { response.resume(); resolve(response.statusCode); }); sent.on('upgrade', (response, socket) => { socket.destroy(); resolve(101); }); sent.on('error', reject); sent.end(); });
  const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', cookie };
  assert.equal(await status('/ws', { ...upgrade, origin: server.url }), 101);
  assert.equal(await status('/ws', { ...upgrade, origin: 'http://evil.example' }), 403);
  assert.equal(await status('/api/chat/conversations', { cookie, origin: 'http://evil.example' }, 'POST'), 403);
  assert.equal(await status('/api/chat/conversations', { cookie, 'sec-fetch-site': 'cross-site' }, 'POST'), 403);
  await context.close();
});
