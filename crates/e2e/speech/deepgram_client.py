"""Sends a recording with the official `deepgram-sdk`: all but its last second, a request to finalize, the rest, and the end. Prints
one JSON object."""

import json
import os
import sys
import threading
import wave

from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

url = os.environ["BASE_URL"]
socket_url = url.replace("http", "ws", 1)
names = DeepgramClientEnvironment.__init__.__code__.co_varnames[1:]
client = DeepgramClient(
    api_key=os.environ["API_KEY"],
    environment=DeepgramClientEnvironment(**{name: url if name == "base" else socket_url for name in names}),
)
audio = wave.open(sys.argv[1], "rb")
rate = audio.getframerate()
messages, errors, finalized = [], [], threading.Event()


def receive(message):
    messages.append(message)
    if getattr(message, "from_finalize", False):
        finalized.set()


with client.listen.v1.connect(
    model="nova-3", language="en-US", encoding="linear16", sample_rate=rate, interim_results=True
) as connection:
    connection.on(EventType.MESSAGE, receive)
    connection.on(EventType.ERROR, errors.append)
    listening = threading.Thread(target=connection.start_listening)
    listening.start()
    connection.send_keep_alive()
    rest = audio.getnframes() - rate
    while rest > 0:
        connection.send_media(audio.readframes(min(rest, rate // 10)))
        rest -= rate // 10
    connection.send_finalize()
    assert finalized.wait(60), "no final after Finalize"
    while data := audio.readframes(rate // 10):
        connection.send_media(data)
    connection.send_close_stream()
    listening.join(60)
    assert not listening.is_alive(), "the server keeps the socket open"

results = [message for message in messages if message.type == "Results"]
finals = [message for message in results if message.is_final]
print(
    json.dumps(
        {
            "text": " ".join(final.channel.alternatives[0].transcript for final in finals),
            "words": [[w.word, w.start, w.end] for final in finals for w in final.channel.alternatives[0].words],
            "speech_final": [final.speech_final for final in finals],
            "interim": len(results) - len(finals),
            "metadata": [[m.duration, m.channels] for m in messages if m.type == "Metadata"],
            "last": messages[-1].type,
            "errors": [str(error) for error in errors],
        }
    )
)
