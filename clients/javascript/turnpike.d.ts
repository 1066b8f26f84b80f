export type Frame = {
    event: string;
    topic?: string;
    offset?: string;
    at?: string;
    [field: string]: any;
};
export type State = 'connecting' | 'catching_up' | 'live' | 'waiting' | 'offline' | 'stopping' | 'too_many' | 'signed_out' | 'paused' | 'closed';
export type Options = {
    /**
     * The gateway, such as `http://127.0.0.1:8080`. In a browser: the origin of the page, unless given.
     */
    url?: string;
    /**
     * An access token, an API key `tp_…`, or a function that
     * returns one; `refused`: the server did not accept the last one. Without it, the browser's session cookie is used.
     */
    token?: string | ((refused: boolean) => string | Promise<string>);
    /**
     * Called when `state` changes.
     */
    onstate?: (state: State, retryAt: number) => void;
    /**
     * Another class than the global one.
     */
    WebSocket?: any;
    /**
     * Another function than the global one.
     */
    fetch?: typeof fetch;
    /**
     * In milliseconds: between attempts to connect
     * (250 to 15,000), and how long a server may be silent after a ping (10,000).
     */
    pauses?: {
        shortest?: number;
        longest?: number;
        silence?: number;
    };
};
export type From = {
    since?: string;
};
export type Subscription = {
    topic: string;
    readonly offset: string | null;
    stop: () => void;
};
export type Followed = {
    since: string;
    /**
     * The offset of the last event that was handed over.
     */
    last: string | null;
    /**
     * After a reset: the next event may have any offset.
     */
    any: boolean;
    asked: boolean;
    /**
     * All events until now have arrived.
     */
    current: boolean;
    /**
     * After a hole: events are ignored until the new subscription is confirmed.
     */
    refilling: boolean;
    /**
     * Holes one after another at the same place.
     */
    holes: number;
    tries: number;
    take: (frame: Frame) => void;
};
/** An error response of the gateway (RFC 9457). */
export declare class Problem extends Error {
    status: number;
    code: string;
    errors: {
        field: string;
        message: string;
    }[];
    retryAfter: number | undefined;
    requestId: string | undefined;
    /** @param {{ status?: number, code?: string, title?: string, detail?: string, errors?: { field: string, message: string }[], retry_after?: number, request_id?: string }} body */
    constructor(body: {
        status?: number;
        code?: string;
        title?: string;
        detail?: string;
        errors?: {
            field: string;
            message: string;
        }[];
        retry_after?: number;
        request_id?: string;
    });
}
export declare class Turnpike {
    #private;
    options: Options;
    url: string;
    /** @type {State} */ state: State;
    /** When the next attempt to connect begins, in milliseconds since 1970. */ retryAt: number;
    /** When the server was last heard, in milliseconds since 1970. */ heard: number;
    /** The last `hello`: limits of the server. @type {Frame | null} */ hello: Frame | null;
    /** @param {Options} [options] */
    constructor(options?: Options);
    /**
     * Sends a request with the credential of this client, and again with a newer token if it was refused. Throws a `Problem` for every
     * status of 400 and above.
     * @param {string} path @param {{ method?: string, body?: unknown, headers?: Record<string, string>, idempotencyKey?: string, signal?: AbortSignal }} [init]
     * @returns {Promise<Response>}
     */
    fetch(path: string, { method, body, headers, idempotencyKey, signal }?: {
        method?: string;
        body?: unknown;
        headers?: Record<string, string>;
        idempotencyKey?: string;
        signal?: AbortSignal;
    }): Promise<Response>;
    /** The JSON of a response. @param {string} path @param {Parameters<Turnpike['fetch']>[1]} [init] @returns {Promise<any>} */
    json(path: string, init?: Parameters<Turnpike['fetch']>[1]): Promise<any>;
    /** Signs in with a password. This client then refreshes its access token by itself. @param {{ username?: string, email?: string, password: string }} credentials */
    signIn(credentials: {
        username?: string;
        email?: string;
        password: string;
    }): Promise<any>;
    /** Ends the session and the connection. */
    signOut(): Promise<void>;
    /**
     * Hands every event of a topic to `take`, once and in order, and what happens to the topic: `caught_up`, `reset` (earlier events may
     * be missing), `closed` (no event follows) and `error` (the topic cannot be followed). Connects if needed.
     * @param {string} topic @param {(frame: Frame) => void} take @param {From} [from] @returns {Subscription}
     */
    follow(topic: string, take: (frame: Frame) => void, { since }?: From): Subscription;
    /**
     * The same as an iterator, which ends after `closed`. Throws a `Problem` if the topic cannot be followed.
     * @param {string} topic @param {From & { signal?: AbortSignal }} [from] @returns {AsyncGenerator<Frame, void, void>}
     */
    events(topic: string, { since, signal }?: From & {
        signal?: AbortSignal;
    }): AsyncGenerator<Frame, void, void>;
    /** Publishes on a room; resolves when the server has answered. @param {string} topic @param {string} event @param {Record<string, unknown>} fields */
    publish(topic: string, event: string, fields: Record<string, unknown>): Promise<Frame>;
    /** Sends a request on the socket; resolves with the frame that has its id. @param {Record<string, unknown>} frame @returns {Promise<Frame>} */
    request(frame: Record<string, unknown>): Promise<Frame>;
    /** Connects now instead of at `retryAt`. */
    retryNow(): void;
    /** Closes the connection; `retryNow` continues every topic where it was. */
    pause(): void;
    /** Closes the connection and forgets every topic. */
    close(): void;
}
