"""FastAPI: /ws/TOPIC follows a topic; POST /pub?id=TOPIC publishes its body."""

import asyncio
from collections import defaultdict

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect

app = FastAPI()
followers: dict[str, set[WebSocket]] = defaultdict(set)


@app.websocket("/ws/{topic}")
async def follow(socket: WebSocket, topic: str):
    await socket.accept()
    followers[topic].add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        followers[topic].discard(socket)


@app.post("/pub")
async def publish(request: Request, id: str):
    text = (await request.body()).decode()
    await asyncio.gather(*(socket.send_text(text) for socket in list(followers[id])), return_exceptions=True)
