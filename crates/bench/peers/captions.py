"""Feeds a speech recogniser with recordings, whole and in real time. Prints what it heard and when as JSON.

Arguments: pocketsphinx or moonshine-voice, and a folder with live.raw and clip0.raw… (16 kHz, 16 bits)."""

import glob
import json
import sys
import time

RATE, FRAME = 16000, 512
name, folder = sys.argv[1:]


def read(path):
    with open(path, "rb") as file:
        return file.read()


class PocketSphinx:
    def __init__(self):
        from pocketsphinx import Decoder, Endpointer

        self.decoder = Decoder(samprate=RATE, loglevel="FATAL")
        self.endpointer = Endpointer(sample_rate=RATE)
        self.rest, self.text = b"", ""

    def whole(self, pcm):
        self.decoder.start_utt()
        self.decoder.process_raw(pcm, full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return found.hypstr if found else ""

    def hear(self, pcm, tell):
        self.rest += pcm
        length = self.endpointer.frame_bytes
        while len(self.rest) >= length:
            frame, self.rest = self.rest[:length], self.rest[length:]
            spoke = self.endpointer.in_speech
            speech = self.endpointer.process(frame)
            if speech is None:
                continue
            if not spoke:
                self.decoder.start_utt()
                self.text = ""
            self.decoder.process_raw(speech)
            found = self.decoder.hyp()
            if found and found.hypstr != self.text:
                self.text = found.hypstr
                tell(False, self.text)
            if not self.endpointer.in_speech:
                self.end(tell)

    def end(self, tell):
        self.decoder.end_utt()
        found = self.decoder.hyp()
        if found:
            tell(True, found.hypstr)

    def finish(self, tell):
        if self.endpointer.in_speech:
            self.end(tell)


class MoonshineVoice:
    def __init__(self):
        import moonshine_voice
        import numpy
        from moonshine_voice import ModelArch, Transcriber, TranscriptEventListener

        self.numpy = numpy
        model = moonshine_voice.get_model_path("tiny-en")
        self.transcriber = Transcriber(model_path=str(model), model_arch=ModelArch.TINY)
        outer = self
        outer.tell = lambda is_final, text: None
        completed = set()

        class Listener(TranscriptEventListener):
            def on_line_text_changed(self, event):
                outer.tell(False, event.line.text)

            def on_line_completed(self, event):
                # The library completes a line again when the stream stops.
                if event.line.line_id not in completed:
                    completed.add(event.line.line_id)
                    outer.tell(True, event.line.text)

        self.stream = self.transcriber.create_stream(update_interval=0.32)
        self.stream.add_listener(Listener())
        self.stream.start()

    def floats(self, pcm):
        return (self.numpy.frombuffer(pcm, dtype="<i2") / 32768.0).astype("float32").tolist()

    def whole(self, pcm):
        transcript = self.transcriber.transcribe_without_streaming(self.floats(pcm), RATE)
        return " ".join(line.text for line in transcript.lines)

    def hear(self, pcm, tell):
        self.tell = tell
        self.stream.add_audio(self.floats(pcm), RATE)

    def finish(self, tell):
        self.stream.stop()


recogniser = {"pocketsphinx": PocketSphinx, "moonshine-voice": MoonshineVoice}[name]()
clips = [read(path) for path in sorted(glob.glob(f"{folder}/clip*.raw"))]
begun = time.process_time()
whole = " ".join(recogniser.whole(clip) for clip in clips)
whole_cpu = (time.process_time() - begun) / (sum(map(len, clips)) / 2 / RATE)

events, live = [], read(f"{folder}/live.raw")
start, begun = time.monotonic(), time.process_time()


def tell(is_final, text):
    if text.strip():
        events.append({"at": time.monotonic() - start, "is_final": is_final, "text": text.strip()})


for at in range(0, len(live), FRAME * 2):
    pcm = live[at : at + FRAME * 2]
    due = start + (at + len(pcm)) / 2 / RATE
    time.sleep(max(0, due - time.monotonic()))
    recogniser.hear(pcm, tell)
recogniser.finish(tell)
cores = (time.process_time() - begun) / (time.monotonic() - start)
print(json.dumps({"events": events, "cores": cores, "whole": whole, "whole_cpu": whole_cpu}))
