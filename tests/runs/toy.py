"""A task whose answers are written, for the pages: no torch, no training, only what it says about itself."""

from worker.nlp import Task, families
from worker.spec import Field, Method, Metric, Recipe, Role, Setting


class Toy(Task):
    slug, title, about = "toy", "Toy writing", "Writes toys."
    roles = (Role("source", "Source", is_key=True), Role("target", "Target"))
    inputs = (Field("source", "Source", long=True),)
    settings = (
        Setting("epochs", "Epochs", 3, "How often.", kind="int", least=1, most=100, advanced=False),
        Setting("target_lang", "Target language", "", "Written as zh or de.", kind="text", most=12, shapes=(families.ENCODER_DECODER,)),
        Setting("packing", "Packing", True, "Fills up.", kind="bool", shapes=(families.DECODER,)),
        Setting("rank", "Rank", 8, "Width.", kind="int", least=1, most=64, methods=("lora",)),
    )
    methods = (
        Recipe(Method.FULL, "Full", "All."),
        Recipe(Method.QUICK, "Quick", "Some.", (families.ENCODER,)),
        Recipe(Method.LORA, "LoRA", "Beside."),
    )
    shapes = (families.ENCODER_DECODER, families.DECODER)
    metrics = (
        Metric("perplexity", "Perplexity", "Lower is better.", unit="number", less_is_better=True),
        Metric("bleu", "BLEU", "Overlap of words."),
    )
    primary_metric = "perplexity"
    evaluation_view = "texts"


EVALUATION = {
    "split": "test",
    "examples": [],
    "tried": 60,
    "untuned": {"perplexity": 45.6, "bleu": 0.02},
    "signatures": {"bleu": "nrefs:1|case:mixed"},
    "samples": [
        {"inputs": {"source": "long " * 80}, "reference": "<i>soll</i>", "answer": "ist", "scores": {"bleu": 0.125}},
        {"inputs": {"source": "short"}, "reference": "gut", "answer": "", "scores": {"bleu": 1.0}},
    ],
}
METRICS = {"perplexity": 33.3, "bleu": 0.25, "rows": 100}
