// What tests in Node share: the product as a process, and a proxy whose connections can be cut. The Rust test names the folder of
// the binaries in TURNPIKE_TEST_BINARIES; without it, target/debug is used.
import { spawn } from 'node:child_process';
import { createServer, connect } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const PASSWORD = 'a long enough pass phrase';
const binaries = process.env['TURNPIKE_TEST_BINARIES'] ?? fileURLToPath(new URL('../../../target/debug', import.meta.url));

/** Waits until `probe` returns something other than undefined or false. */
export async function eventually(what, probe, seconds = 45) {
  const until = Date.now() + seconds * 1000;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > until) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

/** A running program of the product. */
export class Service {
  constructor(program, env, cwd) { Object.assign(this, { program, env, cwd, log: '' }); }
  start() {
    const child = spawn(this.program, { env: this.env, cwd: this.cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    this.exited = new Promise((resolve) => { child.on('exit', resolve); });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { this.log += text; });
    return this;
  }
  /** SIGKILL. */
  async kill() { this.child.kill('SIGKILL'); await this.exited; }
  async stop() { this.child.kill('SIGTERM'); await this.exited; }
}

/** Every service in one process, in a directory of its own. `url` is known when it is ready. */
export class Turnpike extends Service {
  constructor(variables = {}) {
    const directory = mkdtempSync(join(tmpdir(), 'turnpike-node-'));
    const env = {
      PATH: process.env['PATH'], TURNPIKE_OFFLINE: '1', TURNPIKE_HTTP: '127.0.0.1:0', TURNPIKE_ADMIN_PASSWORD: PASSWORD, TURNPIKE_MOCK_DELAY_MS: '0',
      TURNPIKE_LIMIT_LOGINS_PER_MINUTE: '0', TURNPIKE_LIMIT_SOCKETS_PER_USER: '0', TURNPIKE_LIMIT_MESSAGES_PER_MINUTE: '0',
      TURNPIKE_LIMIT_COMMANDS_PER_MINUTE: '0', ...variables,
    };
    for (const [name, value] of Object.entries(env)) if (value === null) delete env[name];
    super(join(binaries, 'turnpike'), env, directory);
  }
  async ready() {
    const before = this.log.length;
    this.start();
    this.url = await eventually('turnpike to be ready', () => {
      if (this.child.exitCode !== null) throw new Error(`turnpike has exited:\n${this.log}`);
      return /Turnpike is ready: (\S+)/.exec(this.log.slice(before))?.[1];
    }, 60);
    this.env['TURNPIKE_HTTP'] = new URL(this.url).host; // a restart listens at the same address
    return this;
  }
  /** Stops the process and removes its directory. */
  async end() { if (this.child.exitCode === null && this.child.signalCode === null) await this.kill(); rmSync(this.cwd, { recursive: true, force: true }); }
}

/** A TCP proxy in front of an address, whose connections can be cut, frozen or refused. */
export class Proxy {
  static async to(url) {
    const proxy = new Proxy();
    const { hostname, port } = new URL(url);
    proxy.pairs = new Set();
    proxy.refusing = proxy.frozen = false;
    proxy.server = createServer((client) => {
      if (proxy.refusing) return client.destroy();
      const server = connect(Number(port), hostname);
      const pair = [client, server];
      proxy.pairs.add(pair);
      const end = () => { proxy.pairs.delete(pair); client.destroy(); server.destroy(); };
      for (const [from, to] of [[client, server], [server, client]]) {
        from.on('data', (bytes) => { if (!proxy.frozen) to.write(bytes); });
        from.on('close', end);
        from.on('error', end);
      }
    });
    await new Promise((resolve) => { proxy.server.listen(0, '127.0.0.1', resolve); });
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }
  /** Resets every connection. */
  cut() { for (const [client, server] of this.pairs) { client.resetAndDestroy(); server.resetAndDestroy(); } }
  close() { this.refusing = true; this.cut(); this.server.close(); }
}

/** An HTTP client with a token. */
export async function signIn(url, username = 'admin', password = PASSWORD) {
  const response = await fetch(`${url}/api/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username, password }) });
  if (!response.ok) throw new Error(`login: ${response.status} ${await response.text()}`);
  const { access_token: token, user } = await response.json();
  const call = async (method, path, body) => {
    const answer = await fetch(url + path, { method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, ...(body ? { body: JSON.stringify(body) } : {}) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text && answer.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
  };
  return { token, user, get: (path) => call('GET', path), post: (path, body) => call('POST', path, body ?? {}), patch: (path, body) => call('PATCH', path, body), delete: (path) => call('DELETE', path) };
}
