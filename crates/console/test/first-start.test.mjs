// The link that the first start prints: a newcomer is in the console with one click.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spawn } from 'node:child_process';
import { PASSWORD, Turnpike, eventually } from '../../e2e/browser/harness.mjs';
import { answered, lastAnswer, launch, live, visitor } from '../../e2e/browser/browser.mjs';
import { model, recording, wordErrors } from '../../e2e/browser/speech.mjs';

/** The process with a terminal, which `script` (util-linux) provides. */
class OnTerminal extends Turnpike {
  start() {
    const child = spawn('script', ['-qfec', this.program, '/dev/null'], { env: { ...this.env, TERM: 'dumb' }, cwd: this.cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    this.exited = new Promise((resolve) => { child.on('exit', resolve); });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { this.log += text; });
    return this;
  }
}
const LINK = /http:\S+\/console\/#code=\S+/;

test('the link of the first start signs in once, on this machine, and only a terminal shows it', async () => {
  const server = await new OnTerminal({ TURNPIKE_ADMIN_PASSWORD: null }).ready(), browser = await launch();
  try {
    const link = await eventually('the link', () => LINK.exec(server.log)?.[0]);
    const code = new URL(link).hash.slice('#code='.length);
    const direct = (headers) => fetch(`${server.url}/api/auth/one-time`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify({ code }) });
    assert.equal((await direct({ 'x-forwarded-for': '203.0.113.7' })).status, 403, 'not through a proxy');
    const first = await visitor(browser, server.url), page = await first.context.newPage();
    await page.goto(link);
    await page.waitForSelector('.shell >> text=Run a command');
    assert.ok(!page.url().includes('code'), 'the address does not keep the code');
    assert.ok(!(await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.documentElement.outerHTML]))).includes(code));
    const second = await visitor(browser, server.url), again = await second.context.newPage();
    await again.goto(link);
    await again.waitForSelector('text=This link was used');
    assert.equal((await direct({})).status, 401);
    assert.ok(!server.log.replace(link, '').includes(code), 'it is in no log line');
    server.child.kill('SIGTERM');
    await server.exited;
    const before = server.log.length;
    await server.ready();
    assert.doesNotMatch(server.log.slice(before), LINK, 'a later start prints none');
  } finally { await browser.close(); server.child.kill('SIGTERM'); await server.exited; await server.end(); }
});

test('output into a pipe has no link', async () => {
  const server = await new Turnpike({ TURNPIKE_ADMIN_PASSWORD: null }).ready();
  try { assert.doesNotMatch(server.log, LINK); assert.match(server.log, /shown only now/); } finally { await server.end(); }
});

test('a newcomer does everything that the README names, from the link on', async () => {
  const server = await new OnTerminal({ TURNPIKE_ADMIN_PASSWORD: null, TURNPIKE_CAPTIONS_MODEL: model }).ready(), browser = await launch();
  try {
    const own = await visitor(browser, server.url), page = await own.context.newPage();
    page.setDefaultTimeout(45_000);
    await page.goto(await eventually('the link', () => LINK.exec(server.log)?.[0]));
    await live(page);
    // A command: the form is filled in already.
    await page.click('text=Run a command');
    await page.click('text=Send command');
    await page.waitForSelector('.head [data-state=completed]');
    // The model.
    await page.click('nav >> text=Overview');
    await page.click('text=Ask the model');
    await page.fill('#say', 'Write 5 words');
    await page.press('#say', 'Enter');
    await answered(page);
    assert.equal(await lastAnswer(page), 'word-1 word-2 word-3 word-4 word-5');
    // A file.
    await page.click('nav >> text=Overview');
    await page.click('text=Caption a file');
    await page.setInputFiles('input[type=file]', recording);
    await page.waitForSelector('.cues[data-state=stopped]', { timeout: 120_000 });
    assert.ok(wordErrors((await page.locator('.cue[data-segment] > span').allInnerTexts()).join(' ')) <= 0.15);
    // A colleague.
    await page.click('nav >> text=Admin');
    await page.click('text=New user');
    await page.fill('dialog input[name=username]', 'otto');
    await page.fill('dialog input[name=email]', 'otto@example.com');
    await page.fill('dialog input[name=password]', PASSWORD);
    await page.selectOption('dialog select[name=role]', 'operator');
    await page.click('text=Create user');
    await page.waitForSelector('tr:has-text("otto"):has-text("operator")');
    // A room, between two browsers.
    await page.click('nav >> text=Rooms');
    await page.click('text=Create a room');
    await page.fill('dialog input[name=name]', 'Workshop');
    await page.click('dialog button:has-text("Create room")');
    await page.waitForSelector('h1:has-text("Workshop")');
    const colleague = await visitor(browser, server.url), other = await colleague.signIn('rooms', 'otto');
    await other.click('text=Workshop');
    await other.fill('#say', 'Hello from the other browser');
    await other.press('#say', 'Enter');
    await page.waitForSelector('.said-by:has-text("Hello from the other browser")');
    await page.fill('#say', 'Hello back');
    await page.press('#say', 'Enter');
    await other.waitForSelector('.said-by:has-text("Hello back")');
    await other.click('nav >> text=Vehicles');
    await other.click('table.list [data-row]');
    await other.click('text=Send command');
    await other.waitForSelector('.head [data-state=completed]');
    assert.deepEqual([...own.faults, ...colleague.faults], []);
  } finally { await browser.close(); server.child.kill('SIGTERM'); await server.exited; await server.end(); }
});
