"""A sixth task, as somebody would add it: one module, and one line that names it. It counts how often a word stands in a text."""

from worker.nlp import Task, folders, texts
from worker.nlp.recipe import FULL, QUICK, TRAINING
from worker.spec import Field, Metric, Role


class Counting(Task):
    slug = "counting"
    title = "Counting"
    about = "How often a word stands in a text."
    roles = (Role("text", "Text", is_key=True, hints=("text",)), Role("count", "Count", kind="number", hints=("count",)))
    inputs = (Field("text", "Text", long=True),)
    settings = TRAINING
    methods = (FULL, QUICK)
    primary_metric = "error"
    metrics = (Metric("error", "Mean error", "How far off the count is.", unit="number", less_is_better=True),)
    example_file = "text,count\nto be or not to be,2\n"

    def problems(self, row):
        found = [] if str(row.get("text") or "").strip() else [("text", "The text is empty.")]
        return found if str(row.get("count") or "").strip().isdigit() else [*found, ("count", "The count is not a whole number.")]

    def baselines(self, train, held_out):
        mean = train["count"].cast(float).mean()
        return {"mean": {"error": float((held_out["count"].cast(float) - mean).abs().mean())}}

    def load(self, base, labels, settings, method, facts):
        model = folders.open_model(base, "AutoModelForSequenceClassification", num_labels=1, problem_type="regression", new_head=True)
        tokenizer = folders.open_tokenizer(base)
        tokenizer.model_max_length = min(settings["window"], texts.longest(model, tokenizer))
        return model, tokenizer

    def encode(self, rows, model, tokenizer, labels, settings, learning=True):
        found, _cut = texts.within_window(tokenizer, rows["text"].to_list())
        return [{**f, "count": float(c), "text": t} for f, c, t in zip(found, rows["count"], rows["text"], strict=True)]

    def criterion(self, train, labels, settings):
        import torch

        def loss(outputs, examples):
            counts = torch.tensor([e["count"] for e in examples], device=outputs.device)
            return torch.nn.functional.mse_loss(outputs[:, 0].float(), counts)

        return loss

    def score(self, found, examples, labels):
        errors = [abs(float(each[0]) - e["count"]) for each, e in zip(found, examples, strict=True)]
        return {"error": sum(errors) / len(errors), "rows": len(errors)}, {"examples": [{"text": e["text"]} for e in examples[:3]]}

    def open(self, folder):
        return folders.open_model(folder, "AutoModelForSequenceClassification").eval(), folders.open_tokenizer(folder), ()

    def open_base(self, folder):
        return folders.open_model(folder, "AutoModel").eval(), folders.open_tokenizer(folder)

    def answer(self, model, tokenizer, labels, inputs, parameters):
        import torch

        rows, cut = texts.within_window(tokenizer, [i["text"] for i in inputs])
        with torch.inference_mode():
            counts = [float(model(**texts.padded([row], tokenizer, model.device)).logits[0, 0]) for row in rows]
        return [{"text": f"{count:.0f}", "cut": c} for count, c in zip(counts, cut, strict=True)]

    def answer_untuned(self, model, tokenizer, labels, inputs, parameters):
        return [{"text": str(len(i["text"].split())), "cut": 0} for i in inputs]
