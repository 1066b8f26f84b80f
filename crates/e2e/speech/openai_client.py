"""Transcribes a recording with the official `openai` client in every format. Prints one JSON object."""

import json
import os
import sys

from openai import APIStatusError, OpenAI

client = OpenAI(base_url=os.environ["BASE_URL"] + "/v1", api_key=os.environ["API_KEY"], max_retries=0)


def create(path=sys.argv[1], model="whisper-1", **options):
    with open(path, "rb") as file:
        return client.audio.transcriptions.create(file=file, model=model, **options)


def refused(**options):
    try:
        create(**options)
    except APIStatusError as error:
        return [error.status_code, error.body["code"], error.body["param"]]


plain = create()
verbose = create(response_format="verbose_json", timestamp_granularities=["word", "segment"])
events = list(create(stream=True))
print(
    json.dumps(
        {
            "json": plain.text,
            "seconds": plain.usage.seconds,
            "language": verbose.language,
            "duration": verbose.duration,
            "verbose": verbose.text,
            "words": [[word.word, word.start, word.end] for word in verbose.words],
            "segments": [[segment.id, segment.start, segment.end, segment.text] for segment in verbose.segments],
            "without_words": create(response_format="verbose_json").words,
            "text": create(response_format="text"),
            "srt": create(response_format="srt"),
            "vtt": create(response_format="vtt", model="moonshine"),
            "deltas": [event.delta for event in events if event.type == "transcript.text.delta"],
            "done": [event.text for event in events if event.type == "transcript.text.done"],
            "refused": [
                refused(path=__file__),
                refused(model="unknown"),
                refused(language="tlh"),
                refused(response_format="diarized_json"),
            ],
        }
    )
)
