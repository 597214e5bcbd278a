"""What anybody does with a downloaded model: transformers alone, nothing of ours. Reads [[how, folder, inputs], ..] from standard input,
prints the answers. `how` names what is in the model's card: its task, and how it was trained to be asked."""

import json
import sys

import torch
import transformers

Auto = transformers.AutoTokenizer


def labels(folder, inputs):
    pipe = transformers.pipeline("text-classification", model=folder, top_k=None)
    asked = [{"text": row["text"], **({"text_pair": row["pair"]} if row.get("pair") else {})} for row in inputs]
    return [{each["label"]: each["score"] for each in pipe(row, truncation=True)} for row in asked]


def span(folder, inputs):
    tokenizer, model = Auto.from_pretrained(folder), transformers.AutoModelForQuestionAnswering.from_pretrained(folder)
    found = []
    for row in inputs:
        x = tokenizer(row["question"], row["context"], return_tensors="pt", truncation="only_second", return_offsets_mapping=True)
        places, parts = x.pop("offset_mapping")[0].tolist(), x.sequence_ids(0)
        with torch.no_grad():
            out = model(**x)
        starts, ends = out.start_logits[0], out.end_logits[0]
        inside = [at for at, part in enumerate(parts) if part == 1]
        best = max((float(starts[s] + ends[e]), s, e) for s in inside for e in inside if s <= e < s + 30)
        nothing = float(starts[0] + ends[0])
        may_be_none = model.config.tunebench["no_answer"]
        found.append("" if may_be_none and nothing > best[0] else row["context"][places[best[1]][0] : places[best[2]][1]])
    return found


def sentences(folder, inputs):
    """The score of each sentence: the mean over its tokens."""
    tokenizer, model = Auto.from_pretrained(folder), transformers.AutoModelForTokenClassification.from_pretrained(folder)
    found = []
    for row in inputs:
        ids, spans = [tokenizer.cls_token_id], []
        for sentence in row["sentences"]:
            more = tokenizer(sentence, add_special_tokens=False)["input_ids"]
            spans.append((len(ids), len(ids) + len(more)))
            ids += [*more, tokenizer.sep_token_id]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, :, 0]
        found.append([float(logits[a:b].mean().sigmoid()) for a, b in spans])
    return found


def written(folder, inputs, prefix="", **options):
    tokenizer, model = Auto.from_pretrained(folder), transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    found = []
    for row in inputs:
        x = tokenizer(prefix + row, return_tensors="pt", truncation=True, return_token_type_ids=False)
        found.append(tokenizer.decode(model.generate(**x, **options)[0], skip_special_tokens=True).strip())
    return found


def greedy(folder, inputs, prefix=""):
    return written(folder, inputs, prefix, num_beams=1, no_repeat_ngram_size=0)


def gone_on(folder, inputs, **options):
    """A decoder: asked in the form of its chat template where it has one."""
    tokenizer, model = Auto.from_pretrained(folder), transformers.AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for row in inputs:
        if tokenizer.chat_template:
            x = tokenizer.apply_chat_template(
                [{"role": "user", "content": row}], add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            x = tokenizer(row, return_tensors="pt", return_token_type_ids=False)
        out = model.generate(**x, do_sample=False, num_beams=1, repetition_penalty=1.0, **options)[0]
        found.append(tokenizer.decode(out[x["input_ids"].shape[1] :], skip_special_tokens=True))
    return found


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    asked = json.load(sys.stdin)
    print(json.dumps([globals()[how](folder, inputs, **more) for how, folder, inputs, more in asked]))
