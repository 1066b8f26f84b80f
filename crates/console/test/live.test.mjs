// What must survive: cuts, reloads, the end of the session, two tabs. The Rust test passes a gateway of a stack of separate processes
// in TURNPIKE_TEST_GATEWAY, which this test kills and starts again.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Proxy, Service, Turnpike, signIn, eventually, PASSWORD } from '../../e2e/browser/harness.mjs';
import { answered, lastAnswer, launch, live, visitor } from '../../e2e/browser/browser.mjs';

const given = JSON.parse(process.env['TURNPIKE_TEST_GATEWAY'] ?? 'null');
if (!given) throw new Error('TURNPIKE_TEST_GATEWAY is not set: run the test `console_live` of turnpike-e2e');
let pid = given.pid, service = null, browser, admin, vehicle, name = 0;
const words = (count) => Array.from({ length: count }, (_, i) => `word-${i + 1}`).join(' ');
const kill = async () => { if (service) await service.kill(); else process.kill(pid, 'SIGKILL'); };
const restart = async () => {
  service = new Service(given.program, { ...given.environment, PATH: process.env['PATH'], TURNPIKE_OFFLINE: '1' }, given.directory).start();
  await eventually('the gateway', async () => (await fetch(`${given.url}/health/ready`).catch(() => null))?.ok ?? false, 90);
};
const user = async () => { name += 1; await admin.post('/api/admin/users', { username: `person-${name}`, email: `person-${name}@example.com`, password: PASSWORD, role: 'engineer' }); return `person-${name}`; };
const conversationOf = (page) => eventually('the conversation', () => /\/chat\/([0-9a-f-]{36})/.exec(page.url())?.[1]);
const ask = async (page, text) => { await page.fill('#say', text); await page.press('#say', 'Enter'); };

before(async () => {
  admin = await signIn(given.url);
  vehicle = (await admin.get('/api/vehicles?status=connected'))[0];
  browser = await launch();
});
after(async () => { await browser?.close(); await service?.kill(); });

test('the gateway is killed while an answer streams and a command runs: nothing is lost, and the user is told (6)', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, given.url), chat = await enter('chat'), command = await context.newPage();
  await command.goto(`${given.url}/console/vehicles/${vehicle.id}`);
  await Promise.all([live(chat), live(command)]);
  await command.selectOption('select[name=command_name]', 'ReadDataByID');
  // Both must still run when the gateway is killed, however slow the machine is: the answer takes half a minute, and the vehicle sends
  // nothing for at least seven seconds (see the Rust test).
  await ask(chat, 'Write 6000 words');
  await chat.waitForSelector('.bubble.assistant[data-state=generating]');
  await chat.fill('#say', 'a draft that must survive');
  await command.click('text=Send command');
  await command.waitForSelector('.timeline [data-offset]');
  await kill();
  assert.equal(await command.locator('.timeline[data-done]').count(), 0, 'the command ran when the gateway was killed');
  assert.equal(await chat.locator('.bubble.assistant[data-state=generating]').count(), 1, 'the answer streamed when the gateway was killed');
  // On a machine without a network, which a test may run on, a browser calls itself offline.
  await chat.waitForSelector('.connection :is([data-state=waiting], [data-state=connecting], [data-state=offline])');
  assert.ok(await chat.locator('.connection').innerText());
  await restart();
  await live(chat);
  await answered(chat);
  assert.equal(await lastAnswer(chat), words(6000));
  assert.equal(await chat.inputValue('#say'), 'a draft that must survive');
  await command.waitForSelector('.head [data-state=completed]', { timeout: 90_000 });
  const offsets = await command.locator('.timeline [data-offset]').evaluateAll((all) => all.map((one) => Number(one.dataset.offset.split('-')[1])));
  assert.deepEqual(offsets, offsets.map((_, i) => i + 1), 'no event is missing and none is doubled');
  assert.match(await command.locator('.timeline').innerText(), /The connection was lost/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('two tabs show the same answer, and one that is reloaded in the middle shows it, too (7 8)', async () => {
  const { signIn: enter, open, faults, context } = await visitor(browser, given.url), first = await enter('chat', await user());
  await ask(first, 'Write 2000 words'); // it still grows when the page is reloaded
  const id = await conversationOf(first), second = await open(`chat/${id}`);
  await second.waitForSelector('.bubble.assistant');
  await first.reload();
  await Promise.all([answered(first), answered(second)]);
  assert.deepEqual([await lastAnswer(first), await lastAnswer(second)], [words(2000), words(2000)]);
  await ask(second, 'Write 4 words');
  await eventually('the answer in the other tab', async () => (await lastAnswer(first)) === words(4));
  assert.deepEqual(faults, []);
  await context.close();
});

test('stop keeps what was said; another version and the first one can be chosen (9)', async () => {
  const { signIn: enter, context } = await visitor(browser, given.url), page = await enter('chat', await user());
  await ask(page, 'Write 5000 words');
  await page.waitForFunction(() => document.querySelector('.bubble.assistant .prose')?.textContent.includes('word-20'));
  await page.click('.composer >> text=Stop');
  await page.waitForSelector('.bubble.assistant[data-state=stopped]');
  await page.waitForSelector('text=You stopped this answer.');
  await page.click('text=Answer again');
  await page.waitForSelector('.bubble.assistant[data-state=generating]');
  await page.click('.composer >> text=Stop');
  await page.waitForSelector('.versions:has-text("2 / 2")');
  await page.click('[aria-label="Earlier version"]');
  await page.waitForSelector('.versions:has-text("1 / 2")');
  await context.close();
});

test('a command is cancelled, and every tab says so (9)', async () => {
  // The vehicle sends nothing before the command's deadline of 30 s, so the command runs until it is cancelled.
  const slow = await new Turnpike({ TURNPIKE_MOCK_DELAY_MS: '60000' }).ready();
  try {
    const own = await signIn(slow.url), [car] = await eventually('a vehicle', async () => { const all = await own.get('/api/vehicles?status=connected'); return all.length > 0 && all; });
    const { signIn: enter, open, faults, context } = await visitor(browser, slow.url), page = await enter(`vehicles/${car.id}`);
    await page.click('text=Send command');
    const id = await eventually('the command', () => /\/vehicles\/[^/]+\/([0-9a-f-]{36})/.exec(page.url())?.[1]), other = await open(`commands/${id}`);
    await other.waitForSelector('.timeline [data-offset]');
    await page.click('.head button:text-is("Cancel")');
    for (const one of [page, other]) {
      await one.waitForSelector('.head [data-state=cancelled]');
      assert.equal(await one.locator('.head button:text-is("Cancel")').count(), 0);
    }
    assert.equal((await own.get(`/api/commands/${id}`)).status, 'cancelled');
    assert.deepEqual(faults, []);
    await context.close();
  } finally { await slow.end(); }
});

test('a draft survives the end of the session, and the request continues after the sign-in (10)', async () => {
  const { signIn: enter, faults, context } = await visitor(browser, given.url), username = await user(), page = await enter('chat', username);
  await live(page);
  await page.fill('#say', 'Write 3 words');
  const own = await signIn(given.url, username);
  for (const session of await own.get('/api/auth/sessions')) if (!session.current) await own.delete(`/api/auth/sessions/${session.id}`);
  await page.waitForSelector('dialog:has-text("Sign in again")');
  assert.equal(await page.inputValue('#say'), 'Write 3 words');
  assert.ok(await page.evaluate(() => document.querySelector('.shell').inert));
  await page.fill('dialog input[name=password]', PASSWORD);
  await page.click('dialog button[type=submit]');
  await page.waitForSelector('dialog', { state: 'detached' });
  await page.waitForFunction(() => !document.querySelector('.shell').inert);
  await page.press('#say', 'Enter');
  await answered(page);
  assert.equal(await lastAnswer(page), words(3));
  await page.waitForFunction(() => document.querySelector('#say').value === ''); // the events can be faster than the response
  assert.deepEqual(faults, []);
  await context.close();
});

test('signing out ends every tab and deletes the drafts (11)', async () => {
  const { signIn: enter, open, context } = await visitor(browser, given.url), first = await enter('account', await user()), second = await open('chat');
  await second.fill('#say', 'a secret draft');
  await live(second);
  await first.click('.head button:has-text("Sign out")');
  const [response] = await Promise.all([first.waitForResponse((one) => one.url().endsWith('/logout')), first.click('dialog button[type=submit]')]);
  assert.equal(response.status(), 200);
  await Promise.all([first, second].map((page) => page.waitForSelector('.shell', { state: 'detached' })));
  await Promise.all([first, second].map((page) => page.waitForSelector('.door input[name=password]')));
  assert.ok(!(await second.evaluate(() => JSON.stringify(localStorage))).includes('secret'), 'the draft is deleted');
  await context.close();
});

test('offline and back: the state says so, and what happened meanwhile appears (20)', async () => {
  const proxy = await Proxy.to(given.url), { signIn: enter, faults, context } = await visitor(browser, proxy.url), username = await user(), page = await enter('chat', username);
  await ask(page, 'Write 2 words');
  await answered(page);
  const id = await conversationOf(page), own = await signIn(given.url, username);
  await live(page);
  await context.setOffline(true);
  proxy.refusing = true; // the network of a browser that is offline carries nothing; emulation leaves open sockets alone
  proxy.cut();
  await page.waitForSelector('.connection [data-state=offline]');
  await page.waitForSelector('.talk-head .as-of');
  await own.post(`/api/chat/conversations/${id}/messages`, { content: 'Write 6 words' });
  proxy.refusing = false;
  await context.setOffline(false);
  await live(page);
  await page.waitForFunction((text) => [...document.querySelectorAll('.bubble.assistant .prose')].at(-1)?.textContent === text, words(6));
  assert.deepEqual(faults, []);
  await context.close();
  proxy.close();
});

test('a proxy that cuts every connection many times loses and doubles nothing', async () => {
  const proxy = await Proxy.to(given.url), { signIn: enter, faults, context } = await visitor(browser, proxy.url), page = await enter('chat', await user());
  await live(page);
  await ask(page, 'Write 2000 words');
  await page.waitForSelector('.bubble.assistant[data-state=generating]');
  for (let i = 0; i < 6; i++) {
    await live(page);
    const former = new Set(proxy.pairs);
    proxy.cut();
    await eventually('another connection', () => [...proxy.pairs].some((pair) => !former.has(pair)));
  }
  await answered(page);
  assert.equal(await lastAnswer(page), words(2000));
  assert.deepEqual(faults, []);
  await context.close();
  proxy.close();
});

test('a reset is shown (23)', async () => {
  const { signIn: enter, context } = await visitor(browser, given.url), page = await enter('chat');
  await ask(page, 'Write 2 words');
  await answered(page);
  const id = await conversationOf(page), other = await context.newPage();
  await other.goto(`${given.url}/console/topics/conversation:${id}?since=1700000000000-5`);
  await other.waitForSelector('.frames li:has-text("reset")');
  await context.close();
});
