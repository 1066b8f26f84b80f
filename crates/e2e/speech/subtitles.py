"""Reads a WebVTT and a SubRip file with other people's parsers. Prints the cues of both as JSON: start, end and lines."""

import html
import json
import sys

import srt
import webvtt


def milliseconds(time):
    return time.hours * 3_600_000 + time.minutes * 60_000 + time.seconds * 1000 + time.milliseconds


with open(sys.argv[2], encoding="utf-8") as file:
    subrip = list(srt.parse(file.read()))
print(
    json.dumps(
        {
            "vtt": [
                [
                    milliseconds(cue.start_time),
                    milliseconds(cue.end_time),
                    [html.unescape(line) for line in cue.lines],
                ]
                for cue in webvtt.read(sys.argv[1])
            ],
            "srt": [
                [cue.start.total_seconds() * 1000, cue.end.total_seconds() * 1000, cue.content.split("\n")] for cue in subrip
            ],
        }
    )
)
