// For development: the files from the disk, and everything else from a running gateway.
//   node crates/console/test/serve.mjs http://127.0.0.1:8080 [PORT]
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const gateway = new URL(process.argv[2] ?? 'http://127.0.0.1:8080'), port = Number(process.argv[3] ?? 8081);
const assets = fileURLToPath(new URL('../assets/', import.meta.url)), client = fileURLToPath(new URL('../../../clients/javascript/', import.meta.url));
const TYPES = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', html: 'text/html; charset=utf-8' };
const source = readFileSync(new URL('../../gateway/src/http/console.rs', import.meta.url), 'utf8');
const policy = /const POLICY: &str = "([^"]*)"/.exec(source)[1].replace(/\\\n\s*/g, '');

const server = createServer((incoming, response) => {
  const { pathname } = new URL(incoming.url, 'http://localhost');
  const file = /^\/console\/@[^/]+\/([\w./-]+)$/.exec(pathname)?.[1];
  if (file) {
    const path = file.startsWith('client/') ? client + file.slice(7) : assets + file;
    if (file.includes('..') || !existsSync(path)) { response.writeHead(404).end(); return; }
    response.writeHead(200, { 'content-type': TYPES[path.split('.').pop()] ?? 'text/plain', 'cache-control': 'no-store' }).end(readFileSync(path));
  } else if (pathname.startsWith('/console/')) {
    const page = readFileSync(`${assets}index.html`, 'utf8').replaceAll('@PRELOAD@', '').replaceAll('@HASH@', 'disk');
    response.writeHead(200, { 'content-type': TYPES.html, 'content-security-policy': policy, 'cache-control': 'no-store', etag: '"disk"' }).end(page);
  } else {
    const passed = request({ host: gateway.hostname, port: gateway.port, path: incoming.url, method: incoming.method, headers: incoming.headers }, (answer) => { response.writeHead(answer.statusCode, answer.headers); answer.pipe(response); });
    passed.on('error', () => response.destroy());
    incoming.pipe(passed);
  }
});
server.on('upgrade', (incoming, browser, head) => {
  const socket = connect(Number(gateway.port), gateway.hostname, () => {
    const headers = []; for (let i = 0; i < incoming.rawHeaders.length; i += 2) headers.push(`${incoming.rawHeaders[i]}: ${incoming.rawHeaders[i + 1]}`);
    socket.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
    socket.write(head);
    socket.pipe(browser);
    browser.pipe(socket);
  });
  for (const [one, other] of [[socket, browser], [browser, socket]]) one.on('error', () => other.destroy());
});
server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/console/`));
