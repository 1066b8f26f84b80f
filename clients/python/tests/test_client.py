"""The client against a running gateway, whose address and token are in TURNPIKE and TURNPIKE_TOKEN (set by the test `python` of e2e)."""

import asyncio
import os
import unittest
from urllib.parse import urlsplit

from turnpike_client import Problem, Turnpike

URL, TOKEN, PASSWORD = os.environ["TURNPIKE"], os.environ["TURNPIKE_TOKEN"], os.environ["TURNPIKE_PASSWORD"]
PAUSES = {"shortest_pause": 0.02, "longest_pause": 0.2, "silence": 3.0}


class Proxy:
    """A TCP proxy whose connections can be cut."""

    async def __aenter__(self):
        self.writers = set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()

    async def _serve(self, reader, writer):
        target = urlsplit(URL)
        there, back = await asyncio.open_connection(target.hostname, target.port)
        self.writers |= {writer, back}

        async def pump(source, sink):
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))
        self.writers -= {writer, back}

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()


async def command(turnpike):
    for _ in range(200):
        if vehicles := await turnpike.get("/api/vehicles?status=connected"):
            break
        await asyncio.sleep(0.05)
    sent = await turnpike.post("/api/commands", {"vehicle_id": vehicles[0]["id"], "command_name": "ReadDTC", "command_params": {"ecuAddress": "0x10"}})
    return f"response:{sent['command_id']}"


class ClientTest(unittest.IsolatedAsyncioTestCase):
    def complete(self, frames):
        """Offsets without a hole and without a duplicate, starting at 1."""
        offsets = [frame["offset"].split("-") for frame in frames if "offset" in frame]
        self.assertEqual([int(n) for _, n in offsets], list(range(1, len(offsets) + 1)))
        self.assertEqual(len({epoch for epoch, _ in offsets}), 1)

    async def test_a_command_is_followed_to_its_end(self):
        async with Turnpike(URL, TOKEN, **PAUSES) as turnpike:
            frames = [frame async for frame in turnpike.events(await command(turnpike))]
        self.complete(frames)
        self.assertEqual(frames[-1]["event"], "closed")
        self.assertEqual([frame for frame in frames if frame["event"] == "status"][-1]["status"], "completed")

    async def test_an_answer_that_is_cut_many_times_is_whole(self):
        async with Proxy() as proxy, Turnpike(URL, TOKEN) as direct, Turnpike(proxy.url, TOKEN, **PAUSES) as turnpike:
            talk = await direct.post("/api/chat/conversations")
            asked = asyncio.create_task(direct.post(f"/api/chat/conversations/{talk['id']}/messages", {"content": "Write 1200 words"}))
            frames, cuts = [], 0

            async def cutting():
                nonlocal cuts
                while cuts < 15:
                    await asyncio.sleep(0.06)
                    if turnpike.state == "live":
                        cuts += 1
                        proxy.cut()

            task = asyncio.create_task(cutting())
            async for frame in turnpike.events(f"conversation:{talk['id']}"):
                frames.append(frame)
                if frame["event"] == "message":
                    break
            task.cancel()
            await asked
        self.complete(frames)
        self.assertGreaterEqual(cuts, 8)
        self.assertEqual("".join(frame["content"] for frame in frames if frame["event"] == "delta"), frames[-1]["content"])

    async def test_many_topics_share_a_socket_and_resume_where_the_caller_wants(self):
        async with Turnpike(URL, TOKEN, **PAUSES) as turnpike:
            topics = [await command(turnpike) for _ in range(8)]

            async def whole(topic, since="start"):
                return [frame async for frame in turnpike.events(topic, since)]

            everything = await asyncio.gather(*map(whole, topics))
            for frames in everything:
                self.complete(frames)
            events = [frame for frame in everything[0] if "offset" in frame]
            rest = await whole(topics[0], events[1]["offset"])
            self.assertEqual([frame for frame in rest if "offset" in frame], events[2:])

    async def test_passwords_keys_and_functions(self):
        async with Turnpike(URL, TOKEN) as admin:
            topic = await command(admin)
            key = (await admin.post("/api/auth/api-keys", {"name": "python"}))["key"]

        async def function(refused):
            return TOKEN if refused else "not-a-token"

        for token in (key, function, None):
            async with Turnpike(URL, token, **PAUSES) as turnpike:
                if token is None:
                    self.assertEqual((await turnpike.sign_in("admin", PASSWORD))["username"], "admin")
                self.complete([frame async for frame in turnpike.events(topic)])
                self.assertEqual((await turnpike.get("/api/auth/me"))["username"], "admin")

    async def test_a_refused_access_token_is_refreshed_once(self):
        async with Turnpike(URL, **PAUSES) as turnpike:
            await turnpike.sign_in("admin", PASSWORD)
            stale = turnpike._pair["access_token"] = "stale"
            posts, post = [], turnpike._post

            async def spying(path, body):
                posts.append(path)
                return await post(path, body)

            turnpike._post = spying
            users = await asyncio.gather(*(turnpike.get("/api/auth/me") for _ in range(10)))
            self.assertEqual({user["username"] for user in users}, {"admin"})
            # A request that is refused after the refresh uses what that gave.
            self.assertEqual(await turnpike._credential(stale), turnpike._pair["access_token"])
            self.assertEqual(posts, ["/api/auth/refresh"])

    async def test_refusals_are_problems(self):
        async with Turnpike(URL, TOKEN, **PAUSES) as turnpike:
            with self.assertRaises(Problem) as refused:
                async for _ in turnpike.events("response:01890000-0000-7000-8000-000000000000"):
                    self.fail("no event")
            self.assertEqual(refused.exception.code, "NOT_FOUND")
            with self.assertRaises(Problem) as invalid:
                await turnpike.post("/api/commands", {})
            self.assertEqual(invalid.exception.status, 422)
        async with Turnpike(URL, "wrong", **PAUSES) as stranger:
            with self.assertRaises(Problem):
                async for _ in stranger.events("response:01890000-0000-7000-8000-000000000000"):
                    self.fail("no event")
            self.assertEqual(stranger.state, "signed_out")

    async def test_a_reset_is_yielded(self):
        async with Turnpike(URL, TOKEN, **PAUSES) as turnpike:
            talk = await turnpike.post("/api/chat/conversations")
            await turnpike.post(f"/api/chat/conversations/{talk['id']}/messages", {"content": "Write 3 words"})
            frames = []
            async for frame in turnpike.events(f"conversation:{talk['id']}", "1700000000000-7"):
                frames.append(frame)
                if frame["event"] == "message":
                    break
            self.assertEqual((frames[0]["event"], frames[0]["reason"]), ("reset", "epoch"))


if __name__ == "__main__":
    unittest.main()
