// The client against the real product. `./scripts/test` runs this by the test `javascript` of e2e; by hand:
//   node --experimental-websocket --test clients/javascript/test
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Turnpike as Client, Problem } from '../turnpike.js';
import { eventually, PASSWORD, Proxy, signIn, Turnpike } from '../../../crates/e2e/browser/harness.mjs';

const pauses = { shortest: 20, longest: 200, silence: 2000 };
let server, admin;
/** @type {Client[]} */ const clients = [];
const client = (options) => { const made = new Client({ url: server.url, token: admin.token, pauses, ...options }); clients.push(made); return made; };

before(async () => {
  server = await new Turnpike({ TURNPIKE_LLM_SCRIPTED_DELAY_MS: '2', TURNPIKE_MOCK_DELAY_MS: '40' }).ready();
  admin = await signIn(server.url);
});
after(async () => { clients.forEach((one) => one.close()); await server.end(); });

async function command(name = 'ReadDTC') {
  const vehicles = await eventually('vehicles', async () => { const found = await admin.get('/api/vehicles?status=connected'); return found.length > 0 && found; });
  const sent = await admin.post('/api/commands', { vehicle_id: vehicles[0].id, command_name: name, command_params: { ecuAddress: '0x10' } });
  return `response:${sent.command_id}`;
}
async function ask(words) {
  const { id } = await admin.post('/api/chat/conversations');
  const asked = admin.post(`/api/chat/conversations/${id}/messages`, { content: `Write ${words} words` });
  return { id, topic: `conversation:${id}`, asked };
}
/** Offsets without a hole and without a duplicate, starting at 1. */
function complete(frames) {
  const offsets = frames.filter((frame) => frame.offset).map((frame) => frame.offset.split('-').map(Number));
  offsets.forEach(([epoch, n], i) => assert.deepEqual([epoch, n], [offsets[0][0], i + 1], `event ${i}`));
}
const whole = (frames) => frames.filter((frame) => frame.event === 'delta').map((frame) => frame.content).join('');

test('a command is followed from its start to its end', async () => {
  const frames = [];
  for await (const frame of client().events(await command())) frames.push(frame);
  complete(frames);
  const events = frames.filter((frame) => frame.offset);
  assert.equal(events[0].status, 'pending');
  assert.equal(events.at(-1).status, 'completed');
  assert.equal(events.filter((frame) => frame.event === 'response').at(-1).is_final, true);
  assert.equal(frames.at(-1).event, 'closed');
});

test('answers that are cut twenty times are whole, without loss and without duplicates', async () => {
  const proxy = await Proxy.to(server.url);
  const one = client({ url: proxy.url }), states = new Set();
  one.options.onstate = (state) => states.add(state);
  let cuts = 0;
  // The fewer cuts there are in one answer, the busier the machine is.
  for (let answers = 0; cuts < 20; answers += 1) {
    assert.ok(answers < 20, `${cuts} cuts in ${answers} answers`);
    const frames = [], { topic, asked } = await ask(1500);
    const subscription = one.follow(topic, (frame) => frames.push(frame));
    const cutting = setInterval(() => { if (one.state === 'live' && cuts < 20) { cuts += 1; proxy.cut(); } }, 40);
    await asked;
    await eventually('the end of the answer', () => frames.some((frame) => frame.event === 'message'), 60);
    clearInterval(cutting);
    complete(frames);
    assert.equal(whole(frames), frames.find((frame) => frame.event === 'message').content);
    assert.equal(subscription.offset, frames.filter((frame) => frame.offset).at(-1).offset);
  }
  assert.ok(states.has('waiting') && states.has('live'), [...states].join());
  one.close();
  proxy.close();
});

test('many topics on one socket, each from where the caller wants', async () => {
  const one = client(), topics = await Promise.all(Array.from({ length: 12 }, () => command()));
  let sockets = 0;
  one.options.onstate = (state) => { if (state === 'connecting') sockets += 1; };
  const all = await Promise.all(topics.map(async (topic) => { const frames = []; for await (const frame of one.events(topic)) frames.push(frame); return frames; }));
  all.forEach(complete);
  assert.ok(sockets <= 1);
  const third = all[0].filter((frame) => frame.offset)[2];
  const rest = [];
  for await (const frame of one.events(topics[0], { since: third.offset })) rest.push(frame);
  assert.deepEqual(rest.filter((frame) => frame.offset), all[0].filter((frame) => frame.offset).slice(3));
});

test('`live` begins with what happens next, also if the connection is cut before that', async () => {
  const { id, topic, asked } = await ask(3);
  await asked;
  const proxy = await Proxy.to(server.url), one = client({ url: proxy.url }), frames = [];
  const subscription = one.follow(topic, (frame) => frames.push(frame), { since: 'live' });
  await eventually('the subscription', () => one.state === 'live' && subscription.offset !== null);
  proxy.refusing = true;
  proxy.cut();
  await admin.post(`/api/chat/conversations/${id}/messages`, { content: 'Write 4 words' });
  proxy.refusing = false;
  await eventually('the second answer', () => frames.some((frame) => frame.event === 'message'));
  assert.equal(frames.filter((frame) => frame.offset)[0].event, 'started');
  assert.equal(whole(frames), 'word-1 word-2 word-3 word-4');
  one.close();
  proxy.close();
});

test('a connection that dies in silence is found and replaced', async () => {
  const proxy = await Proxy.to(server.url), one = client({ url: proxy.url, pauses: { ...pauses, silence: 300 } });
  const { topic, asked } = await ask(2);
  await asked;
  one.follow(topic, () => {});
  await eventually('live', () => one.state === 'live');
  one.hello = { ...one.hello, heartbeat_interval: 0.1 };
  const lost = eventually('the loss', () => one.state === 'waiting' || one.state === 'connecting', 10);
  proxy.frozen = true;
  await lost;
  proxy.frozen = false;
  proxy.cut();
  await eventually('live again', () => one.state === 'live');
  one.close();
  proxy.close();
});

test('an API key, a token function, and a password with refresh', async () => {
  const topic = await command();
  const { key } = await admin.post('/api/auth/api-keys', { name: 'test' });
  let asked = 0;
  const ways = [client({ token: key }), client({ token: (refused) => { asked += 1; return refused ? admin.token : 'not-a-token'; } }), client({ token: undefined })];
  await ways[2].signIn({ username: 'admin', password: PASSWORD });
  for (const one of ways) {
    const frames = [];
    for await (const frame of one.events(topic)) frames.push(frame);
    complete(frames);
    assert.equal((await one.json('/api/auth/me')).username, 'admin');
  }
  assert.ok(asked >= 2, 'the function is asked again after a refusal');
});

test('an access token that is no longer accepted is refreshed once for many requests, also for one that is refused late', async () => {
  let logins = 0, refreshes = 0, refused = 0;
  /** @type {() => void} */ let refreshed = () => {};
  const after = new Promise((resolve) => { refreshed = () => resolve(undefined); });
  const spying = async (url, init = {}) => {
    if (String(url).endsWith('/login')) logins += 1;
    if (String(url).endsWith('/refresh')) { refreshes += 1; const response = await fetch(url, init); setTimeout(refreshed, 20); return response; }
    if (refreshes > 0 || !init.headers?.authorization) return fetch(url, init);
    const last = ++refused === 10;
    const response = await fetch(url, { ...init, headers: { ...init.headers, authorization: 'Bearer stale' } });
    if (last) await after;
    return response;
  };
  const one = client({ token: undefined, fetch: spying });
  await one.signIn({ username: 'admin', password: PASSWORD });
  const names = await Promise.all(Array.from({ length: 10 }, async () => (await one.json('/api/auth/me')).username));
  assert.deepEqual([...new Set(names)], ['admin']);
  assert.deepEqual([logins, refreshes, refused], [1, 1, 10]);
});

test('a topic that one may not follow, and a refusal, are problems', async () => {
  const one = client();
  const missing = 'response:01890000-0000-7000-8000-000000000000';
  await assert.rejects(async () => { for await (const _ of one.events(missing)) assert.fail('no event'); }, (error) => error instanceof Problem && error.code === 'NOT_FOUND');
  await assert.rejects(one.json('/api/commands', { body: {} }), (error) => error instanceof Problem && error.status === 422 && error.errors.length > 0);
  const refused = client({ token: 'wrong' });
  refused.follow(missing, () => {});
  await eventually('signed out', () => refused.state === 'signed_out');
});

test('the end of the session ends the connection, and nothing else', async () => {
  const one = client({ token: undefined });
  await one.signIn({ username: 'admin', password: PASSWORD });
  const { topic, asked } = await ask(2);
  await asked;
  one.follow(topic, () => {});
  await eventually('live', () => one.state === 'live');
  const sessions = await one.json('/api/auth/sessions');
  await admin.delete(`/api/auth/sessions/${sessions.find((session) => session.current).id}`);
  await eventually('signed out', () => one.state === 'signed_out');
});

test('a client can be closed while it asks for a token, and while it asks whether the session has ended', async () => {
  const waiting = new Client({ url: server.url, token: () => new Promise(() => {}) });
  waiting.follow('user:00000000-0000-7000-8000-000000000000', () => {});
  waiting.close();
  assert.equal(waiting.state, 'closed');
  // With a cookie, a handshake that failed is followed by a request, whose answer has not come yet.
  let asked = () => {};
  const asking = new Promise((resolve) => { asked = () => resolve(undefined); });
  const cookie = new Client({ url: server.url, fetch: () => { asked(); return new Promise(() => {}); } });
  cookie.follow('user:00000000-0000-7000-8000-000000000000', () => {});
  await asking;
  cookie.close();
  assert.equal(cookie.state, 'closed');
});

test('a reset is handed over, and the events after it', async () => {
  const { topic, asked } = await ask(5);
  await asked;
  const frames = [], one = client();
  one.follow(topic, (frame) => frames.push(frame), { since: '1700000000000-7' }); // an epoch that the topic never had
  await eventually('the events', () => frames.some((frame) => frame.event === 'message'));
  assert.equal(frames[0].event, 'reset');
  assert.equal(frames[0].reason, 'epoch');
  assert.equal(whole(frames), 'word-1 word-2 word-3 word-4 word-5');
});

test('a server that stops says so, and is found again', async () => {
  const own = await new Turnpike().ready();
  try {
    const states = [], person = await signIn(own.url);
    const { id } = await person.post('/api/chat/conversations');
    await person.post(`/api/chat/conversations/${id}/messages`, { content: 'Write 2 words' });
    const one = client({ url: own.url, token: person.token, onstate: (state) => states.push(state) });
    one.follow(`conversation:${id}`, () => {});
    await eventually('live', () => one.state === 'live');
    await own.stop();
    await eventually('stopping', () => states.includes('stopping'));
    await own.ready();
    await eventually('live again', () => one.state === 'live', 30);
    one.close();
  } finally { await own.end(); }
});
