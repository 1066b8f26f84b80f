// The link that the first start prints: a newcomer is in the console with one click.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spawn } from 'node:child_process';
import { Turnpike, eventually } from '../../e2e/browser/harness.mjs';
import { launch, visitor } from '../../e2e/browser/browser.mjs';

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
