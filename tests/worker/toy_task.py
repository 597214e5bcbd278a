"""A small task that writes its answers word by word, slowly where it is asked to; the models are those of the classifier.

As a program: the serving process, or with "relay" the relay whose serving process it is, with this task among the others; a number
behind it says after how many silent seconds the relay ends that process.
"""

import sys
import time

from worker.nlp import TASKS, Task
from worker.spec import Field, Setting


class Parrot(Task):
    slug = "parrot"
    title = "Parrot"
    about = "Says it again, word by word."
    streams = True
    inputs = (Field("prompt", "Prompt", most_chars=1000), Field("tone", "Tone", required=False))
    parameters = (
        Setting("words", "Words", 5, "How many words to say.", kind="int", least=1, most=100_000),
        Setting("pause_ms", "Pause", 0.0, "How long each word takes.", least=0, most=1000),
    )

    def open(self, folder):
        return TASKS["classification"].open(folder)

    def answer(self, model, tokenizer, labels, inputs, parameters):
        return [self.whole(row, parameters) for row in inputs]

    def open_base(self, folder):
        return self.open(folder)[:2]

    def whole(self, row, parameters):
        words = row["prompt"].split()
        return {"text": " ".join(words[n % len(words)] for n in range(parameters["words"])), "finish": "end"}

    def stream(self, model, tokenizer, labels, inputs, parameters):
        inputs = {**inputs, "prompt": inputs["prompt"].replace("facts", str((getattr(model.config, "tunebench", None) or {}).get("said")))}
        for number, word in enumerate(self.whole(inputs, parameters)["text"].split()):
            time.sleep(parameters["pause_ms"] / 1000)
            if word == "stumble":
                raise ValueError("a word that cannot be said")
            if word == "freeze":
                time.sleep(600)
            heard = "" if word == "hum" else word
            yield {"text": f" {heard}" if number and heard else heard, "tokens": [{"text": word, "p": 1.0}]}
        return self.whole(inputs, parameters)


PARROT = Parrot()

if __name__ == "__main__":
    TASKS["parrot"] = PARROT
    if "relay" in sys.argv:
        from worker import relay
        from worker.serving import process

        process.COMMAND = [sys.executable, "-m", "tests.worker.toy_task"]
        relay.STALL_S = float(sys.argv[2]) if sys.argv[2:] else 4.0
        relay.main()
    else:
        from worker.serving import desk
        from worker.serving.__main__ import main

        desk.LONGEST_S = 1.0
        main()
