// The JavaScript client of Turnpike: one WebSocket for every topic, without loss and without duplicates. No dependencies; for browsers,
// Node 22 or later, and any runtime with fetch, whose WebSocket can be passed as an option.

/** @typedef {{ event: string, topic?: string, offset?: string, at?: string, [field: string]: any }} Frame */
/**
 * The connection, for people: a client that is not `live` shows what it last heard.
 * @typedef {'connecting' | 'catching_up' | 'live' | 'waiting' | 'offline' | 'stopping' | 'too_many' | 'signed_out' | 'paused' | 'closed'} State
 */
/**
 * @typedef {object} Options
 * @property {string} [url] The gateway, such as `http://127.0.0.1:8080`. In a browser: the origin of the page, unless given.
 * @property {string | ((refused: boolean) => string | Promise<string>)} [token] An access token, an API key `tp_…`, or a function that
 *   returns one; `refused`: the server did not accept the last one. Without it, the browser's session cookie is used.
 * @property {(state: State, retryAt: number) => void} [onstate] Called when `state` changes.
 * @property {any} [WebSocket] Another class than the global one.
 * @property {typeof fetch} [fetch] Another function than the global one.
 * @property {{ shortest?: number, longest?: number, silence?: number }} [pauses] In milliseconds: between attempts to connect
 *   (250 to 15,000), and how long a server may be silent after a ping (10,000).
 */
/** @typedef {{ since?: string }} From `start` (the default), `live`, or an offset. */
/** @typedef {{ topic: string, readonly offset: string | null, stop: () => void }} Subscription */
/**
 * @typedef {object} Followed
 * @property {string} since
 * @property {string | null} last The offset of the last event that was handed over.
 * @property {boolean} any After a reset: the next event may have any offset.
 * @property {boolean} asked
 * @property {boolean} current All events until now have arrived.
 * @property {boolean} refilling After a hole: events are ignored until the new subscription is confirmed.
 * @property {number} holes Holes one after another at the same place.
 * @property {number} tries
 * @property {(frame: Frame) => void} take
 */

const ENDS = new Set(['NOT_FOUND', 'FORBIDDEN', 'VALIDATION', 'TOO_MANY_TOPICS']);
const jitter = (/** @type {number} */ pause) => pause * (0.5 + Math.random() / 2);

/** An error response of the gateway (RFC 9457). */
export class Problem extends Error {
  /** @param {{ status?: number, code?: string, title?: string, detail?: string, errors?: { field: string, message: string }[], retry_after?: number, request_id?: string }} body */
  constructor(body) {
    super(body.detail || body.title || body.code || `HTTP ${body.status}`);
    this.name = 'Problem';
    this.status = body.status ?? 0;
    this.code = body.code ?? 'INTERNAL';
    this.errors = body.errors ?? [];
    this.retryAfter = body.retry_after;
    this.requestId = body.request_id;
  }
}

/** Whether `later` follows `earlier` without an event between them. Offsets are `<epoch>-<n>`. */
function compare(/** @type {string} */ earlier, /** @type {string} */ later) {
  const [epoch, n] = later.split('-').map(Number);
  const [knownEpoch, knownN] = earlier.split('-').map(Number);
  if (epoch !== knownEpoch) return /** @type {number} */ (epoch) < /** @type {number} */ (knownEpoch) ? 'old' : 'hole';
  const step = /** @type {number} */ (n) - /** @type {number} */ (knownN);
  return step <= 0 ? 'old' : step === 1 ? 'next' : 'hole';
}

/** When an access token expires, in milliseconds; never for an API key. */
function expiry(/** @type {string} */ token) {
  try {
    const claims = /** @type {string} */ (token.split('.')[1]).replaceAll('-', '+').replaceAll('_', '/');
    return Number(JSON.parse(atob(claims)).exp) * 1000 || Infinity;
  } catch { return Infinity; }
}

export class Turnpike {
  /** @type {State} */ state = 'closed';
  /** When the next attempt to connect begins, in milliseconds since 1970. */ retryAt = 0;
  /** When the server was last heard, in milliseconds since 1970. */ heard = 0;
  /** The last `hello`: limits of the server. @type {Frame | null} */ hello = null;

  /** @type {Map<string, Followed>} */ #topics = new Map();
  /** @type {Map<number, { resolve: (frame: Frame) => void, reject: (error: Error) => void, timer: any }>} */ #answers = new Map();
  /** @type {any} */ #socket = null;
  #open = false;
  #tries = 0;
  #id = 0;
  #pinged = 0;
  #useTicket = false;
  /** The token of the last connection, if the server ended it for that token. */ #refused = '';
  /** @type {any} */ #timer = 0;
  /** @type {any} */ #watch = 0;
  /** @type {any} */ #renewal = 0;
  /** @type {{ access_token: string, refresh_token: string } | null} */ #pair = null;
  /** @type {Promise<void> | null} */ #refreshing = null;

  /** @param {Options} [options] */
  constructor(options = {}) {
    this.options = options;
    const url = options.url ?? globalThis.location?.origin;
    if (!url) throw new TypeError('url: the address of the gateway is needed outside of browsers');
    this.url = url.replace(/\/+$/, '');
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.#class = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#class) throw new TypeError('WebSocket: this runtime has none (Node 22 has); pass one as an option');
    const { shortest = 250, longest = 15_000, silence = 10_000 } = options.pauses ?? {};
    this.#pauses = { shortest, longest, silence };
    globalThis.addEventListener?.('online', () => { if (this.state === 'offline' || this.state === 'waiting') this.retryNow(); });
  }
  /** @type {typeof fetch} */ #fetch;
  /** @type {any} */ #class;
  #pauses;

  // --- requests ---------------------------------------------------------------------------------------------------------------------

  /**
   * Sends a request with the credential of this client, and again with a newer token if it was refused. Throws a `Problem` for every
   * status of 400 and above.
   * @param {string} path @param {{ method?: string, body?: unknown, headers?: Record<string, string>, idempotencyKey?: string, signal?: AbortSignal }} [init]
   * @returns {Promise<Response>}
   */
  async fetch(path, { method, body, headers = {}, idempotencyKey, signal } = {}) {
    for (let refused = ''; ;) {
      const token = await this.#token(refused);
      /** @type {Record<string, string>} */ const all = { ...headers };
      if (token) all['authorization'] = `Bearer ${token}`;
      if (body !== undefined) all['content-type'] = 'application/json';
      if (idempotencyKey) all['idempotency-key'] = idempotencyKey;
      const response = await this.#fetch(this.url + path, {
        method: method ?? (body === undefined ? 'GET' : 'POST'), headers: all, ...(signal ? { signal } : {}),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (response.ok) return response;
      const problem = await response.json().catch(() => ({}));
      const renewable = token && !token.startsWith('tp_') && (this.#pair || typeof this.options.token === 'function');
      if (response.status === 401 && renewable && !refused) { refused = token; continue; }
      throw new Problem({ status: response.status, ...problem });
    }
  }

  /** The JSON of a response. @param {string} path @param {Parameters<Turnpike['fetch']>[1]} [init] @returns {Promise<any>} */
  async json(path, init) {
    const response = await this.fetch(path, init);
    return response.status === 204 ? null : response.json();
  }

  /** Signs in with a password. This client then refreshes its access token by itself. @param {{ username?: string, email?: string, password: string }} credentials */
  async signIn(credentials) {
    const response = await this.#fetch(`${this.url}/api/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(credentials) });
    const body = await response.json();
    if (!response.ok) throw new Problem({ status: response.status, ...body });
    this.#pair = body;
    if (this.state === 'signed_out') this.retryNow();
    return body.user;
  }

  /** Ends the session and the connection. */
  async signOut() {
    await this.fetch('/api/auth/logout', { method: 'POST' });
    this.#pair = null;
    this.close();
  }

  /** @param {string} refused A token that the server did not accept, or that ends soon; empty: none. @returns {Promise<string>} The credential; empty: the cookie. */
  async #token(refused) {
    if (this.#pair) {
      // Many requests can be refused with one token: the first of them refreshes it, one that is answered later uses what that gave.
      // Two refreshes at once would count as reuse of a refresh token.
      if (refused === this.#pair.access_token) await (this.#refreshing ??= this.#refresh(this.#pair.refresh_token).finally(() => { this.#refreshing = null; }));
      return this.#pair.access_token;
    }
    const { token } = this.options;
    return typeof token === 'function' ? token(refused !== '') : token ?? '';
  }

  async #refresh(/** @type {string} */ refresh_token) {
    const response = await this.#fetch(`${this.url}/api/auth/refresh`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ refresh_token }) });
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw new Problem({ status: response.status, ...body });
    this.#pair = body;
  }

  // --- topics -----------------------------------------------------------------------------------------------------------------------

  /**
   * Hands every event of a topic to `take`, once and in order, and what happens to the topic: `caught_up`, `reset` (earlier events may
   * be missing), `closed` (no event follows) and `error` (the topic cannot be followed). Connects if needed.
   * @param {string} topic @param {(frame: Frame) => void} take @param {From} [from] @returns {Subscription}
   */
  follow(topic, take, { since = 'start' } = {}) {
    if (this.#topics.has(topic)) throw new Error(`${topic} is followed already`);
    /** @type {Followed} */
    const followed = { since, last: /^\d+-\d+$/.test(since) ? since : null, any: false, asked: false, current: false, refilling: false, holes: 0, tries: 0, take };
    this.#topics.set(topic, followed);
    if (this.#open) this.#ask([[topic, followed]]); else if (this.state === 'closed') this.#connect();
    this.#settle();
    return {
      topic,
      get offset() { return followed.last; },
      stop: () => {
        if (this.#topics.get(topic) !== followed) return;
        this.#topics.delete(topic);
        if (followed.asked) this.#write({ action: 'unsubscribe', topic });
        this.#settle();
      },
    };
  }

  /**
   * The same as an iterator, which ends after `closed`. Throws a `Problem` if the topic cannot be followed.
   * @param {string} topic @param {From & { signal?: AbortSignal }} [from] @returns {AsyncGenerator<Frame, void, void>}
   */
  async *events(topic, { since, signal } = {}) {
    /** @type {Frame[]} */ const queue = [];
    let wake = () => {};
    const subscription = this.follow(topic, (frame) => { queue.push(frame); wake(); }, since ? { since } : {});
    const aborted = () => wake();
    signal?.addEventListener('abort', aborted);
    try {
      while (!signal?.aborted) {
        const frame = queue.shift();
        if (!frame) { await new Promise((resolve) => { wake = () => resolve(undefined); if (queue.length || signal?.aborted) wake(); }); continue; }
        if (frame.event === 'error' && !frame.offset) throw new Problem(/** @type {any} */ (frame));
        yield frame;
        if (frame.event === 'closed') return;
      }
    } finally {
      signal?.removeEventListener('abort', aborted);
      subscription.stop();
    }
  }

  /** Publishes on a room; resolves when the server has answered. @param {string} topic @param {string} event @param {Record<string, unknown>} fields */
  publish(topic, event, fields) { return this.request({ action: 'publish', topic, event, ...fields }); }

  /** Sends a request on the socket; resolves with the frame that has its id. @param {Record<string, unknown>} frame @returns {Promise<Frame>} */
  request(frame) {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      if (!this.#write({ ...frame, id })) return reject(new Problem({ code: 'OFFLINE', detail: 'There is no connection' }));
      const timer = setTimeout(() => { this.#answers.delete(id); reject(new Problem({ code: 'TIMEOUT', detail: 'The server did not answer in time' })); }, this.#pauses.silence);
      this.#answers.set(id, { resolve, reject, timer });
    });
  }

  // --- the connection ---------------------------------------------------------------------------------------------------------------

  /** Connects now instead of at `retryAt`. */
  retryNow() { if (!this.#socket) { this.#tries = 0; this.#connect(); } }
  /** Closes the connection; `retryNow` continues every topic where it was. */
  pause() { this.#leave('paused'); }
  /** Closes the connection and forgets every topic. */
  close() { this.#topics.clear(); this.#leave('closed'); }

  #leave(/** @type {State} */ state) {
    const socket = this.#socket;
    this.#drop();
    socket?.close(1000);
    this.#set(state);
  }

  #set(/** @type {State} */ state, retryAt = 0) {
    if (state === this.state && retryAt === this.retryAt) return;
    this.state = state;
    this.retryAt = retryAt;
    this.options.onstate?.(state, retryAt);
  }

  #settle() { if (this.#open && this.hello) this.#set([...this.#topics.values()].every((followed) => followed.current) ? 'live' : 'catching_up'); }

  async #connect() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#set(globalThis.navigator?.onLine === false ? 'offline' : 'connecting');
    /** @type {any} */ const attempt = this.#socket = { close: () => {} };
    let url = `${this.url.replace(/^http/, 'ws')}/ws`, token = '';
    const protocols = ['turnpike.v1'];
    try {
      token = await this.#token(this.#refused);
      this.#refused = '';
      if (token.startsWith('tp_')) url += `?token=${encodeURIComponent(token)}`;
      else if (token || this.#useTicket) protocols.push(`ticket.${(await this.json('/api/auth/tickets', { method: 'POST' })).ticket}`);
    } catch (error) {
      if (this.#socket !== attempt) return;
      this.#socket = null;
      if (error instanceof Problem && (error.status === 401 || error.status === 403)) return this.#set('signed_out');
      return this.#wait(0);
    }
    if (this.#socket !== attempt) return; // closed meanwhile
    const socket = this.#socket = new this.#class(url, protocols);
    let opened = false;
    const late = setTimeout(() => { if (!opened) { socket.close(); ended({ code: 1006, reason: '' }); } }, this.#pauses.silence);
    socket.onopen = () => { opened = true; clearTimeout(late); if (this.#socket === socket) this.#begin(token); };
    socket.onmessage = (/** @type {{ data: any }} */ { data }) => { if (this.#socket === socket && typeof data === 'string') this.#receive(JSON.parse(data)); };
    socket.onerror = () => {};
    const ended = (/** @type {{ code: number, reason: string }} */ { code, reason }) => {
      clearTimeout(late);
      if (this.#socket !== socket) return;
      this.#drop();
      void this.#ended(code, reason, opened, token);
    };
    socket.onclose = ended;
  }

  #begin(/** @type {string} */ token) {
    this.#open = true;
    this.heard = Date.now();
    this.#ask([...this.#topics]);
    const until = expiry(token);
    if (until !== Infinity) this.#renewal = setTimeout(() => this.#renew(token), Math.max(1000, Math.min(until - Date.now() - 60_000, 2 ** 31 - 1)));
    // Pings of the WebSocket protocol are invisible to scripts, so a connection that died in silence is found by our own.
    this.#watch = setInterval(() => {
      const silent = Date.now() - this.heard, patience = (this.hello?.['heartbeat_interval'] ?? 30) * 1000;
      if (this.#pinged && Date.now() - this.#pinged > this.#pauses.silence) { const socket = this.#socket; this.#drop(); socket.close(); return this.#wait(0); }
      if (!this.#pinged && silent > patience) { this.#pinged = Date.now(); this.#write({ action: 'ping' }); }
    }, 1000);
  }

  async #renew(/** @type {string} */ old) {
    try {
      const token = await this.#token(old);
      this.#write({ action: 'auth', token });
      const until = expiry(token);
      if (this.#open && until !== Infinity) this.#renewal = setTimeout(() => this.#renew(token), Math.max(1000, until - Date.now() - 60_000));
    } catch { /* the server closes with 4401, and the next attempt to connect finds out why */ }
  }

  #drop() {
    this.#socket = null;
    this.#open = false;
    this.#pinged = 0;
    clearInterval(this.#watch);
    clearTimeout(this.#renewal);
    clearTimeout(this.#timer);
    for (const followed of this.#topics.values()) { followed.asked = followed.current = followed.refilling = false; }
    for (const { reject, timer } of this.#answers.values()) { clearTimeout(timer); reject(new Problem({ code: 'OFFLINE', detail: 'The connection was lost' })); }
    this.#answers.clear();
  }

  async #ended(/** @type {number} */ code, /** @type {string} */ reason, /** @type {boolean} */ opened, /** @type {string} */ token) {
    this.#refused = code === 4401 || code === 1008 ? token : '';
    if (code === 1001) return this.#wait(Number(/retry_after=(\d+)/.exec(reason)?.[1] ?? 1) * 1000, 'stopping');
    if (code === 4429) return this.#wait(this.#pauses.longest, 'too_many');
    const cookie = !this.#pair && this.options.token === undefined;
    if (!cookie || (opened && code !== 4401)) return this.#wait(0);
    // Browsers hide why a handshake was refused.
    const attempt = this.#socket = { close: () => {} }; // `close` may be called before the answer
    const status = await this.#fetch(`${this.url}/api/auth/me`).then((response) => response.status, () => 0);
    if (this.#socket !== attempt) return;
    this.#socket = null;
    if (status === 401) return this.#set('signed_out');
    if (status === 200 && !opened) this.#useTicket = true;
    this.#wait(0);
  }

  #wait(/** @type {number} */ least, /** @type {State} */ state = 'waiting') {
    const { shortest, longest } = this.#pauses;
    const pause = least + jitter(Math.min(longest, shortest * 2 ** this.#tries++));
    this.#set(globalThis.navigator?.onLine === false ? 'offline' : state, Date.now() + pause);
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  #write(/** @type {unknown} */ frame) {
    if (!this.#open) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #ask(/** @type {[string, Followed][]} */ pairs) {
    for (let i = 0; i < pairs.length; i += 100) {
      const some = pairs.slice(i, i + 100);
      for (const [, followed] of some) { followed.asked = true; followed.current = false; }
      this.#write({ action: 'subscribe', id: ++this.#id, topics: Object.fromEntries(some.map(([topic, { last, since }]) => [topic, last ?? since])) });
    }
  }

  #receive(/** @type {Frame} */ frame) {
    this.heard = Date.now();
    this.#pinged = 0;
    if (frame.event === 'hello') { this.#tries = 0; this.hello = frame; return this.#settle(); }
    const waiting = typeof frame['id'] === 'number' ? this.#answers.get(frame['id']) : undefined;
    if (waiting) {
      this.#answers.delete(frame['id']);
      clearTimeout(waiting.timer);
      if (frame.event === 'error' && !frame.offset) waiting.reject(new Problem(/** @type {any} */ (frame))); else waiting.resolve(frame);
      return;
    }
    const { topic } = frame, followed = topic ? this.#topics.get(topic) : undefined;
    if (!topic || !followed) return;
    if (frame.offset) return this.#event(topic, followed, frame, frame.offset);
    switch (frame.event) {
      case 'subscribed':
        followed.tries = 0;
        followed.refilling = false;
        if (followed.since === 'live' && !followed.last) { followed.last = frame['head']; followed.since = followed.last ?? 'start'; }
        return;
      case 'reset':
        followed.any = true;
        break;
      case 'caught_up':
        followed.current = true;
        this.#settle();
        break;
      case 'closed':
        this.#topics.delete(topic);
        this.#settle();
        break;
      case 'error':
        if (frame['code'] === 'ALREADY_SUBSCRIBED' || frame['code'] === 'NOT_SUBSCRIBED') return;
        if (!ENDS.has(frame['code'])) { // the owner of the topic is unavailable: ask again
          const pause = jitter(Math.min(this.#pauses.longest, 1000 * 2 ** followed.tries++));
          setTimeout(() => { if (this.#topics.get(topic) === followed && this.#open) this.#ask([[topic, followed]]); }, pause);
          return;
        }
        this.#topics.delete(topic);
        this.#settle();
        break;
      default:
    }
    followed.take(frame);
  }

  #event(/** @type {string} */ topic, /** @type {Followed} */ followed, /** @type {Frame} */ frame, /** @type {string} */ offset) {
    if (followed.refilling) return;
    if (!followed.any && followed.last) {
      const order = compare(followed.last, offset);
      if (order === 'old') return;
      if (order === 'hole' && followed.holes++ < 3) { // an event did not arrive: ask for what follows the last one that did
        followed.refilling = true;
        this.#write({ action: 'unsubscribe', topic });
        return this.#ask([[topic, followed]]);
      }
      if (order === 'hole') followed.take({ event: 'reset', topic, reason: 'hole', head: offset }); // the server does not have it either
    }
    followed.any = false;
    followed.holes = 0;
    followed.last = offset;
    followed.take(frame);
  }
}
