"""Speaks the protocol of vosk-server as its example client does: a configuration, audio in pieces of 0.2 s with one answer each, and
the end. Prints one JSON object."""

import asyncio
import json
import sys
import wave

import websockets


async def main(uri, path):
    answers = []
    async with websockets.connect(uri) as socket:
        audio = wave.open(path, "rb")
        await socket.send('{ "config" : { "sample_rate" : %d } }' % audio.getframerate())
        while data := audio.readframes(int(audio.getframerate() * 0.2)):
            await socket.send(data)
            answers.append(json.loads(await socket.recv()))
        await socket.send('{"eof" : 1}')
        answers.append(json.loads(await socket.recv()))
        more = [message async for message in socket]
    finals = [answer for answer in answers if "text" in answer]
    print(
        json.dumps(
            {
                "text": " ".join(final["text"] for final in finals),
                "words": [word for final in finals for word in final.get("result", [])],
                "partials": [answer["partial"] for answer in answers if "partial" in answer],
                "more": len(more),
            }
        )
    )


asyncio.run(main(*sys.argv[1:]))
