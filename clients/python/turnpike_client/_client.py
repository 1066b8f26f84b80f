"""One WebSocket for every topic, with resume, deduplication by offset, and refreshed credentials."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

Frame = dict[str, Any]
Token = str | Callable[[bool], Awaitable[str]]

#: Refusals of a topic that another attempt would get again.
_FINAL = {"NOT_FOUND", "FORBIDDEN", "VALIDATION", "TOO_MANY_TOPICS"}
#: Topics in one request.
_AT_ONCE = 100


class Problem(Exception):
    """An error response of the gateway (RFC 9457)."""

    def __init__(self, body: dict[str, Any], status: int = 0) -> None:
        super().__init__(body.get("detail") or body.get("title") or body.get("code") or f"HTTP {status}")
        self.status: int = body.get("status", status)
        self.code: str = body.get("code", "INTERNAL")
        self.errors: list[dict[str, str]] = body.get("errors", [])
        self.retry_after: float | None = body.get("retry_after")
        self.request_id: str | None = body.get("request_id")


@dataclass
class _Followed:
    since: str
    last: str | None
    frames: asyncio.Queue[Frame] = field(default_factory=lambda: asyncio.Queue(1024))
    #: After a reset: the next event may have any offset.
    any: bool = False
    #: After a hole: events are ignored until the new subscription is confirmed.
    refilling: bool = False
    holes: int = 0
    tries: int = 0


def _order(earlier: str, later: str) -> str:
    """`old`, `next` or `hole`: whether `later` follows `earlier` without an event between them."""
    (epoch, n), (known_epoch, known_n) = (tuple(map(int, offset.split("-"))) for offset in (later, earlier))
    if epoch != known_epoch:
        return "old" if epoch < known_epoch else "hole"
    return "old" if n <= known_n else "next" if n == known_n + 1 else "hole"


def _expiry(token: str) -> float | None:
    """When an access token expires, in seconds since 1970; `None` for an API key."""
    try:
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, KeyError, ValueError):
        return None


class Turnpike:
    """A client of one gateway. Use it with `async with`.

    `token` is an access token, an API key `tp_…`, or an async function that returns one; its argument says whether the server
    refused the last one. Without it, call `sign_in`.
    """

    def __init__(
        self,
        url: str,
        token: Token | None = None,
        *,
        on_state: Callable[[str], None] | None = None,
        shortest_pause: float = 0.25,
        longest_pause: float = 15.0,
        silence: float = 10.0,
    ) -> None:
        self.url = url.rstrip("/")
        #: `closed`, `connecting`, `live`, `waiting`, `stopping`, `too_many` or `signed_out`.
        self.state = "closed"
        self._token, self._on_state = token, on_state
        self._shortest, self._longest, self._silence = shortest_pause, longest_pause, silence
        self._topics: dict[str, _Followed] = {}
        self._pair: dict[str, Any] | None = None
        self._refreshing = asyncio.Lock()
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Turnpike:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and forgets every topic."""
        self._topics.clear()
        tasks = [task for task in (self._task, *self._later) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http:
            await self._http.close()
        self._set("closed")

    # --- requests ---

    async def sign_in(self, username: str, password: str) -> dict[str, Any]:
        """Signs in with a password. The client then refreshes its access token by itself. Returns the user."""
        name = "email" if "@" in username else "username"
        self._pair = await self._post("/api/auth/login", {name: username, "password": password})
        return dict(self._pair["user"])

    async def request(self, method: str, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """Sends a request and returns the JSON of the response. Raises a `Problem` for a status of 400 or above."""
        refused: str | None = None
        while True:
            token = await self._credential(refused)
            headers = {"authorization": f"Bearer {token}"} if token else {}
            if idempotency_key:
                headers["idempotency-key"] = idempotency_key
            async with self._session.request(method, self.url + path, json=body, headers=headers) as response:
                if response.status < 400:
                    return await response.json() if "json" in response.content_type else await response.text()
                renewable = token and not token.startswith("tp_") and (self._pair or callable(self._token))
                if response.status == 401 and renewable and refused is None:
                    refused = token
                    continue
                raise Problem(await _problem(response), response.status)

    async def get(self, path: str) -> Any:
        return await self.request("GET", path)

    async def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        return await self.request("POST", path, {} if body is None else body, idempotency_key=idempotency_key)

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("use the client with `async with Turnpike(…) as turnpike`")
        return self._http

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(self.url + path, json=body) as response:
            if response.status >= 400:
                raise Problem(await _problem(response), response.status)
            return dict(await response.json())

    async def _credential(self, refused: str | None) -> str:
        """Returns the credential; `refused`: a token that the server did not accept, or that ends soon."""
        if self._pair:
            # Many requests can be refused with one token: the first of them refreshes it, one that is answered later uses what that gave.
            if refused is not None:
                async with self._refreshing:  # two refreshes at once would count as reuse of a refresh token
                    if self._pair["access_token"] == refused:
                        self._pair = await self._post("/api/auth/refresh", {"refresh_token": self._pair["refresh_token"]})
            return str(self._pair["access_token"])
        if callable(self._token):
            return await self._token(refused is not None)
        return self._token or ""

    # --- topics ---

    async def events(self, topic: str, since: str = "start") -> AsyncIterator[Frame]:
        """Yields each event of a topic once and in order, and what happens to the topic: `caught_up`, `reset` (earlier events may be
        missing) and `closed`, which is the last one. `since` is `start`, `live` or an offset."""
        if topic in self._topics:
            raise ValueError(f"{topic} is followed already")
        followed = _Followed(since, since if re.fullmatch(r"\d+-\d+", since) else None)
        self._topics[topic] = followed
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        elif self._socket is not None:
            await self._ask({topic: followed})
        try:
            while True:
                frame = await followed.frames.get()
                if frame["event"] == "error" and "offset" not in frame:
                    raise Problem(frame)
                yield frame
                if frame["event"] == "closed":
                    return
        finally:
            if self._topics.get(topic) is followed:
                del self._topics[topic]
                while not followed.frames.empty():  # the reading task may wait for room in this queue
                    followed.frames.get_nowait()
                await self._send({"action": "unsubscribe", "topic": topic})

    async def _send(self, frame: dict[str, Any]) -> None:
        if self._socket is not None and not self._socket.closed:
            try:
                await self._socket.send_str(json.dumps(frame))
            except (aiohttp.ClientError, ConnectionError):
                pass  # the reading side notices the cut, and every topic is asked for again

    async def _ask(self, topics: dict[str, _Followed]) -> None:
        pairs = list(topics.items())
        for start in range(0, len(pairs), _AT_ONCE):
            wanted = {topic: one.last or one.since for topic, one in pairs[start : start + _AT_ONCE]}
            await self._send({"action": "subscribe", "topics": wanted})

    # --- the connection ---

    def _set(self, state: str) -> None:
        if state != self.state:
            self.state = state
            if self._on_state:
                self._on_state(state)

    async def _run(self) -> None:
        tries = 0
        refused: str | None = None
        while True:
            least, state = 0.0, "waiting"
            try:
                self._set("connecting")
                socket, token = await self._open(refused)
                refused = None
                async with socket:
                    self._socket = socket
                    renewal = asyncio.create_task(self._renew(token))
                    try:
                        if await self._read(socket):
                            tries = 0
                    finally:
                        self._socket = None
                        renewal.cancel()
                code, reason = socket.close_code, getattr(socket, "close_reason", "") or ""
                refused = token if code in (4401, 1008) else None
                if code == 1001:
                    least, state = 1.0, "stopping"
                    if match := re.search(r"retry_after=(\d+)", reason):
                        least = float(match[1])
                elif code == 4429:
                    least, state = self._longest, "too_many"
            except Problem as problem:
                if problem.status in (401, 403):
                    self._set("signed_out")
                    for followed in self._topics.values():
                        await followed.frames.put({"event": "error", "code": problem.code, "detail": str(problem), "status": problem.status})
                    return
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
                pass
            pause = least + min(self._longest, self._shortest * 2 ** min(tries, 10)) * random.uniform(0.5, 1)
            tries += 1
            self._set(state)
            await asyncio.sleep(pause)

    async def _open(self, refused: str | None) -> tuple[aiohttp.ClientWebSocketResponse, str]:
        token = await self._credential(refused)
        headers = {"authorization": f"Bearer {token}"}
        try:
            socket = await self._session.ws_connect(
                self.url + "/ws", headers=headers, protocols=("turnpike.v1",), heartbeat=None, max_msg_size=4 << 20,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 401 and refused is None and (self._pair or callable(self._token)):
                return await self._open(token)
            if error.status in (401, 403):
                raise Problem({"code": "UNAUTHENTICATED", "detail": "The credential is not accepted"}, error.status) from error
            raise
        return socket, token

    async def _renew(self, token: str) -> None:
        while (until := _expiry(token)) is not None:
            await asyncio.sleep(max(1.0, until - time.time() - 60))
            try:
                token = await self._credential(token)
            except (Problem, aiohttp.ClientError):
                return  # the server closes with 4401, and the next attempt to connect finds out why
            await self._send({"action": "auth", "token": token})

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Reads until the connection ends. Returns whether the server has said hello."""
        heartbeat, greeted, pinged = 30.0, False, False
        while True:
            try:
                message = await socket.receive(self._silence if pinged or not greeted else heartbeat)
            except asyncio.TimeoutError:
                if pinged or not greeted:
                    return greeted  # it died in silence
                pinged = True
                await self._send({"action": "ping"})
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                return greeted
            pinged, frame = False, json.loads(message.data)
            if frame["event"] == "hello":
                heartbeat, greeted = float(frame.get("heartbeat_interval", heartbeat)), True
                self._set("live")
                await self._ask(self._topics)
                continue
            followed = self._topics.get(frame.get("topic", ""))
            if followed is not None:
                await self._take(frame["topic"], followed, frame)

    async def _take(self, topic: str, followed: _Followed, frame: Frame) -> None:
        if "offset" in frame:
            await self._event(topic, followed, frame)
            return
        match frame["event"]:
            case "subscribed":
                followed.tries, followed.refilling = 0, False
                if followed.since == "live" and followed.last is None:
                    followed.last = frame["head"]
                    followed.since = followed.last or "start"
                return
            case "reset":
                followed.any = True
            case "closed":
                del self._topics[topic]
            case "error" if frame["code"] in ("ALREADY_SUBSCRIBED", "NOT_SUBSCRIBED"):
                return
            case "error" if frame["code"] not in _FINAL:
                task = asyncio.create_task(self._ask_later(topic, followed))
                self._later.add(task)
                task.add_done_callback(self._later.discard)
                return
            case "error":
                del self._topics[topic]
        await followed.frames.put(frame)

    async def _ask_later(self, topic: str, followed: _Followed) -> None:
        followed.tries += 1
        await asyncio.sleep(min(self._longest, 2.0 ** min(followed.tries, 10)) * random.uniform(0.5, 1))
        if self._topics.get(topic) is followed:
            await self._ask({topic: followed})

    async def _event(self, topic: str, followed: _Followed, frame: Frame) -> None:
        if followed.refilling:
            return
        if not followed.any and followed.last is not None:
            order = _order(followed.last, frame["offset"])
            if order == "old":
                return
            if order == "hole":
                followed.holes += 1
                if followed.holes <= 3:  # an event did not arrive: ask for what follows the last one that did
                    followed.refilling = True
                    await self._send({"action": "unsubscribe", "topic": topic})
                    await self._ask({topic: followed})
                    return
                await followed.frames.put({"event": "reset", "topic": topic, "reason": "hole", "head": frame["offset"]})
        followed.any, followed.holes, followed.last = False, 0, frame["offset"]
        await followed.frames.put(frame)


async def _problem(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        return dict(json.loads(await response.text()))
    except ValueError:
        return {"detail": f"HTTP {response.status}"}
