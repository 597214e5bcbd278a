"""Text generation: going on with a text, or answering a prompt as the rows taught."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from worker.nlp import Example, certainty, chats, families, language, overlap, templates, texts
from worker.nlp import rows as rows_of
from worker.nlp.chats import Chat, Message
from worker.nlp.decoding import decode
from worker.nlp.language import Written
from worker.nlp.recipe import FULL, LORA, training
from worker.nlp.rows import LEADS
from worker.spec import Field, Metric, Role, Setting, Trouble
from worker.spec import gettext_noop as _

SHOWN_TOKENS = 64  # of an answer to a text without a prompt
LOOKED_AT = 1_000  # rows that say whether there are chats, and one system prompt
AT_ONCE = 8  # held-out rows answered together
SHOWN_PROMPT = 400  # characters of a text without a prompt from which the model goes on, for the samples

DRAWN = ("temperature", 0.01)  # without it the likeliest token is always taken
SAMPLING = (
    Setting(
        "max_tokens", _("Longest answer"), 128, _("The answer ends after this many tokens."), _("tokens"), "int", 1, 1024, advanced=False
    ),
    Setting(
        "temperature",
        _("Temperature"),
        0.8,
        _("0 always takes the most likely token; values above 1 give more surprising, less coherent text."),
        least=0,
        most=2,
        advanced=False,
    ),
    Setting(
        "top_p",
        _("Top-p"),
        0.95,
        _("Samples only from the most likely tokens whose probabilities add up to this value."),
        least=0.01,
        most=1,
        needs=DRAWN,
    ),
    Setting(
        "top_k",
        _("Top-k"),
        50,
        _("Samples only from this many of the most likely tokens; 0 means all."),
        _("tokens"),
        "int",
        0,
        1000,
        needs=DRAWN,
    ),
    Setting("repetition_penalty", _("Repetition penalty"), 1.1, _("Above 1, tokens already used become less likely."), least=0.5, most=3),
    Setting("seed", _("Seed"), 13, _("The same seed and parameters give the same text."), "", "int", 0, 2**31 - 1, needs=DRAWN),
    Setting("stop", _("Stop at"), "", _("The answer ends before these characters."), kind="text", most=100),
)


class Generation(Written):
    slug = "generation"
    aliases = ("text_generation", "generate", "instruction", "causal_lm", "continuation")
    title = _("Text generation")
    about = _("Continue a text or answer a prompt, in the style of your rows.")
    verb = _("Generate")
    roles: tuple[Role, ...] = (
        Role(
            "prompt",
            _("Prompt"),
            required=False,
            takes_records=True,
            hints=("prompt", "instruction", "question", "input", "query", "message", "提示", "指令", "问题"),
            follows=("input", "context"),
            is_key=True,
            help=_("The input to the model. It is read, not learnt."),
        ),
        Role(
            "completion",
            _("Completion"),
            required=False,
            takes_records=True,
            hints=("completion", "output", "response", "answer", "chosen", "回答", "输出"),
            help=_("The text the model should write."),
        ),
        Role(
            "text",
            _("Text"),
            required=False,
            takes_records=True,
            hints=(
                *("text", "messages", "conversation", "conversations", "content", "document", "paragraphs", "story"),
                *("dialog", "dialogue", "chat", "turns", "contents", "文本", "内容"),
            ),
            leads=LEADS,
            without="completion",
            help=_("A text to learn as a whole, or a chat as JSON (only the assistant's messages are learnt)."),
        ),
        Role(
            "system",
            _("System prompt"),
            required=False,
            hints=("system", "system_prompt", "system_message", "system prompt", "系统提示"),
            help=_("What is said before a conversation begins. It is read, not learnt."),
        ),
        Role(
            "history",
            _("Earlier turns"),
            required=False,
            kind="data",
            hints=("history", "chat_history"),
            help=_("The conversation before the prompt (JSON): pairs of question and answer, or messages."),
        ),
        Role(
            "tools",
            _("Tools"),
            required=False,
            kind="data",
            hints=("tools", "functions"),
            help=_("The functions that the assistant may call (JSON). Models whose chat template knows tools read them."),
        ),
    )
    inputs: tuple[Field, ...] = (
        Field("prompt", _("Prompt"), long=True, most_chars=20_000, hint=_("Enter the beginning of a text, or an instruction")),
    )
    parameters = SAMPLING
    settings: tuple[Setting, ...] = (
        *training(window=512, learning_rate={"": 3e-4, "lora": 1e-3}),
        language.TARGET_WINDOW,
        language.SMOOTHING,
        Setting(
            "tried_rows",
            _("Rows to answer at the end"),
            60,
            _("How many held-out rows are answered for the samples and the scores against references."),
            _("rows"),
            "int",
            0,
            100_000,
        ),
    )
    methods = (FULL, LORA)
    shapes = (families.DECODER,)
    primary_metric = "perplexity"
    metrics: tuple[Metric, ...] = (
        language.PERPLEXITY,
        language.TOKEN_ACCURACY,
        Metric("rouge_l", _("ROUGE-L"), _("Longest common sequence of words with the reference; only for rows with a prompt.")),
        Metric("exact_match", _("Exact match"), _("Share of answers that are right to the letter; only where rows have a prompt.")),
    )
    answer_view = "stream"
    streams = True
    example_file = "prompt,completion\nWrite a line about rain.,The rain taps its fingers on the roof.\n"

    # --- data ---
    def lacking(self, mapping: Mapping[str, str]) -> list[Role]:
        return [] if "completion" in mapping or "text" in mapping else [role for role in self.roles if role.name == "text"]

    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        parts = {role: str(row.get(role) or "").strip() for role in ("prompt", "completion", "text") if role in row}
        if not (parts.get("completion") or parts.get("text")):
            role = "completion" if "completion" in parts else "text"
            found.append((role, _("The completion is empty.") if role == "completion" else _("The text is empty.")))
        for role, text in parts.items():
            if len(text) > rows_of.LONGEST_TEXT:
                found.append((role, _("The text is longer than 1,000,000 characters.")))
        try:
            chat = chats.of_row(row)
        except chats.Unclear as error:
            return [*found, (error.role, str(error))]
        if chat and not any(chats.is_learnt(m) and not m.get("tool_calls") for m in chat.messages):
            there = [m for m in chat.messages if m["role"] == "assistant" and m["content"].strip() and not m.get("tool_calls")]
            role = "completion" if parts.get("completion") else "text"
            weightless = _("Every answer of the assistant has the weight 0, so there is nothing to learn.")
            found.append((role, weightless if there else _("No message of the assistant has a text, so there is nothing to learn.")))
        return found

    def doubts(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        """What is in JSON and no chat, a question that is not read or was not brought, a dialogue that does not say who speaks."""
        prompt, completion, text = (str(row.get(name) or "").strip() for name in ("prompt", "completion", "text"))
        answers = {"prompt": prompt, "completion": completion} if completion else {}
        found = [
            (role, _("It is JSON, and would be learnt as it stands."))
            for role, cell in answers.items()
            if chats.is_record(cell) and not chats.messages_of(cell, is_answer=True)
        ]
        if not completion and text and chats.takes_turns(text):
            found.append(("text", _("Nothing says who speaks; the user is taken to begin, and both to take turns.")))
        elif prompt and text and not completion and chats.of_row(row) is None:
            found.append(
                ("prompt", _("Only the text is learnt, and the prompt is not read. Choose the text as the completion to have it asked."))
            )
        elif completion and "prompt" not in row and chats.of_row(row) is None:
            found.append(("completion", _("No column is the prompt, so the model would learn answers to nothing.")))
        return found

    def kept(self, row: dict[str, Any]) -> dict[str, Any]:
        return chats.kept(row)

    def comes_with(self, config: dict[str, Any]) -> tuple[str, ...] | None:
        writes = families.has_head(config, "ForCausalLM") or families.has_head(config, "LMHeadModel")
        return () if writes and families.shape_of(config) == families.DECODER else None

    # --- training ---
    def facts(self, rows: Any, settings: dict[str, Any]) -> dict[str, Any]:
        """Whether it is asked (a prompt, then an answer), or goes on with what was begun; the system prompt, if all rows have one."""
        found = [_chat_of(row) for row in rows.head(LOOKED_AT).iter_rows(named=True)]
        systems = {chat.messages[0]["content"] if chat and chat.messages[0]["role"] == "system" else "" for chat in found}
        system = systems.pop() if len(systems) == 1 else ""
        instruct = any(found) or {"prompt", "completion"} <= {*rows.columns}
        return {"instruct": instruct, **({"system": system} if system else {})}

    def encode(
        self, rows: Any, model: Any, tokenizer: Any, labels: Sequence[str], settings: dict[str, Any], learning: bool = True
    ) -> list[Example]:
        """A prompt with its completion is one example; a text gives one for each window, none of which sees another text."""
        examples: list[Example] = []
        for number, row in enumerate(rows.iter_rows(named=True)):
            more: list[Example]
            prompt, completion, text = (str(row.get(name) or "") for name in ("prompt", "completion", "text"))
            if chat := _chat_of(row):
                more = _chat(tokenizer, chat)
            elif prompt.strip() and completion.strip():
                asked, _cut = language.prompt_ids(tokenizer, prompt, texts.UNLIMITED)
                more = [language.prompted(tokenizer, asked, completion, settings["target_window"])]
            else:
                more = _continued(tokenizer, completion if completion.strip() else text)
            examples += [{**example, "row": number} for example in more]
        return [example for example in examples if example["weight"] > 0]

    def trial(
        self, model: Any, tokenizer: Any, labels: Sequence[str], rows: Any, settings: dict[str, Any]
    ) -> Generator[tuple[int, int], None, tuple[dict[str, float], dict[str, Any]]] | None:
        return self._trial(model, tokenizer, rows.head(settings["tried_rows"]), settings)

    def _trial(
        self, model: Any, tokenizer: Any, rows: Any, settings: dict[str, Any]
    ) -> Generator[tuple[int, int], None, tuple[dict[str, float], dict[str, Any]]]:
        instruct, target_window = model.config.tunebench["instruct"], int(settings["target_window"])
        table = [asked for row in rows.iter_rows(named=True) if (asked := _asked(row))[0].strip()]
        most = min(target_window, tokenizer.model_max_length // 2) if instruct else min(target_window, SHOWN_TOKENS)
        room = tokenizer.model_max_length - most
        prompts = [
            (_asking(tokenizer, *chat) if chat else _prompt_row(model, tokenizer, prompt, most)[0])[-room:]
            for prompt, _reference, chat in table
        ]
        said: list[str] = []
        for start in range(0, len(prompts), AT_ONCE):
            said += [v[0].text for v in language.written(model, tokenizer, prompts[start : start + AT_ONCE], most=most)]
            yield min(start + AT_ONCE, len(prompts)), len(prompts)
        samples: list[dict[str, Any]] = [
            {
                "inputs": {"prompt": prompt[:4_000]},
                "reference": reference[:4_000],
                "answer": answer,
                "scores": _scores(answer, reference, instruct),
            }
            for (prompt, reference, _chat), answer in zip(table, said, strict=True)
        ]
        system = language.facts_of(model, {"system": ""})["system"]
        examples = [{"prompt": _question(prompt, chat, system)[:400]} for prompt, _reference, chat in table[:3]]
        scores = [sample["scores"] for sample in samples]
        shown = language.worst_first(samples, "rouge_l")
        drawn = {"samples": shown, "signatures": {}, "tried": len(samples), "examples": examples}
        return overlap.mean_of(scores), drawn | {"intervals": certainty.of_means(scores)}

    def leave(self, model: Any, tokenizer: Any, facts: dict[str, Any]) -> None:
        super().leave(model, tokenizer, facts)
        own, known = model.generation_config, {setting.name: setting.default for setting in self.parameters}
        own.do_sample = True
        for name in ("temperature", "top_p", "top_k", "repetition_penalty"):
            setattr(own, name, known[name])
        language.open_rows(tokenizer)
        if facts["instruct"]:
            language.say_form(tokenizer)

    # --- answering ---
    def answer(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: list[dict[str, str]], parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        answers = []
        for row in inputs:
            pieces = self.stream(model, tokenizer, labels, row, parameters)
            try:
                while True:
                    next(pieces)
            except StopIteration as end:
                answers.append(end.value)
        return answers

    def stream(
        self, model: Any, tokenizer: Any, labels: Sequence[str], inputs: dict[str, str], parameters: dict[str, Any]
    ) -> Generator[dict[str, Any], None, dict[str, Any]]:
        ids, cut = _prompt_row(model, tokenizer, inputs["prompt"], int(parameters["max_tokens"]))
        most = max(1, min(int(parameters["max_tokens"]), tokenizer.model_max_length - len(ids)))
        return (yield from decode(model, tokenizer, ids, parameters, most, cut))


def _scores(answer: str, reference: str, instruct: bool) -> dict[str, float]:
    """Only a prompt has a right answer; a text may go on in many ways."""
    if not instruct:
        return {}
    return {"rouge_l": overlap.rouge(answer, [reference])["rouge_l"], "exact_match": float(answer.strip() == reference.strip())}


def _chat_of(row: dict[str, Any]) -> Chat | None:
    try:
        return chats.of_row(row)
    except chats.Unclear as error:  # rows of a version that was made when such chats were taken for texts
        text = f"A row holds a chat that is not understood. {error}"
        raise Trouble("unclear_chat", text, "Make a new version of the dataset: it leaves such rows out, by name.") from error


def _told(messages: Sequence[Message]) -> str:
    """A conversation as people read it."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages if m["content"].strip())


def _laid(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[tuple[list[int], list[int]]]:
    """(token row, labels) of a conversation, in the model's own form where it has one: what the assistant says is learnt,
    everything else is read. Several, where the model's form lays what was said before otherwise once more is said."""
    return _in_form(tokenizer, messages, lambda form: _templated(tokenizer, form, tools)) or [_plain(tokenizer, messages)]


def _asking(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[int]:
    """The token row of a conversation in which the assistant's next message is about to begin."""
    return _in_form(tokenizer, messages, lambda form: _rendered(tokenizer, form, True, tools)) or _plain(tokenizer, messages)[0]


def _in_form(tokenizer: Any, messages: Sequence[Message], lay: Callable[[Sequence[Message]], list[Any]]) -> list[Any] | None:
    """What `lay` makes by the model's own chat template; None where there is none, or where it knows no such role. Where it
    only has no place for a system prompt, as Gemma's, the first question begins with it."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    from jinja2 import TemplateError

    for form in (messages, _without_system(messages)):
        try:
            return lay(form)
        except TemplateError:
            continue
    return None


def _without_system(messages: Sequence[Message]) -> Sequence[Message]:
    if len(messages) < 2 or [m["role"] for m in messages[:2]] != ["system", "user"]:
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _plain(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """For a model without a form of its own. It has no words for a call, so none is learnt, nor that nothing is said there."""
    ids = language.opening(tokenizer)
    labels = [language.LEFT_OUT] * len(ids)
    ending = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    said = [m for m in messages if m["content"].strip()]
    alone = len([m for m in said if m["role"] != "assistant"]) == 1
    for message in said:
        is_answer = message["role"] == "assistant"
        told = message["content"] if alone or is_answer else f"{message['role'].capitalize()}: {message['content']}"
        more = tokenizer(told if is_answer else told.rstrip() + "\n", add_special_tokens=False, verbose=False)["input_ids"]
        more = more + ending if is_answer else more
        is_learnt = chats.is_learnt(message) and not message.get("tool_calls")
        ids, labels = ids + more, labels + (more if is_learnt else [language.LEFT_OUT] * len(more))
    return ids, labels


def _rendered(tokenizer: Any, messages: Sequence[Message], asks: bool, tools: Sequence[Any] = ()) -> list[int]:
    known = [{name: value for name, value in message.items() if name != "weight"} for message in messages]
    return templates.ids(tokenizer, known, asks, **({"tools": list(tools)} if tools else {}))


def _templated(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any]) -> list[tuple[list[int], list[int]]]:
    """Each answer as it stands when it has just been given. In one row if the whole conversation keeps it so; Qwen3 and others
    show the thoughts of the last answer alone, and then each answer needs a row of its own."""
    rows = []
    for at, message in enumerate(messages):
        if chats.is_learnt(message):
            ids = _rendered(tokenizer, messages[: at + 1], False, tools)
            asked = _rendered(tokenizer, messages[:at], True, tools) if at else []
            read = next((i for i, pair in enumerate(zip(asked, ids, strict=False)) if pair[0] != pair[1]), min(len(asked), len(ids)))
            if _has_calls(tokenizer, ids[read:], message):
                rows.append((ids, [language.LEFT_OUT] * read + ids[read:]))
    whole = _rendered(tokenizer, messages, False, tools)
    if any(whole[: len(ids)] != ids for ids, _labels in rows):
        return rows
    learnt = [language.LEFT_OUT] * len(whole)
    for _ids, labels in rows:
        learnt[: len(labels)] = [new if new != language.LEFT_OUT else old for new, old in zip(labels, learnt, strict=False)]
    return [(whole, learnt)]


def _has_calls(tokenizer: Any, ids: list[int], message: Message) -> bool:
    """Whether the calls of a message stand in its tokens. Many templates know no tools and leave them out: to learn such a turn
    would be to learn silence."""
    names = [call["function"]["name"] for call in message.get("tool_calls", [])]
    return not names or all(name in tokenizer.decode(ids) for name in names)


def _chat(tokenizer: Any, chat: Chat) -> list[Example]:
    """A conversation as one row, or as one for each answer; of a long one the end is kept."""
    examples, most = list[Example](), tokenizer.model_max_length
    for ids, labels in _laid(tokenizer, *chat):
        learnt = [language.LEFT_OUT, *labels[-most:][1:]]
        weight = sum(token != language.LEFT_OUT for token in learnt)
        examples.append({"input_ids": ids[-most:], "labels": learnt, "weight": weight, "cut": max(0, len(ids) - most)})
    return examples


def _continued(tokenizer: Any, text: str) -> list[Example]:
    """A text as windows. Each begins as every row does, and only the last one learns that the text ends."""
    ending = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] + ending
    opening = language.opening(tokenizer)
    size = max(1, tokenizer.model_max_length - len(opening))
    return [language.masked(opening + ids[at : at + size], len(opening)) for at in range(0, len(ids), size)]


def _asked(row: dict[str, Any]) -> tuple[str, str, Chat | None]:
    """(prompt, right answer, what was said before it if it is a conversation) of a held-out row; of a text without a prompt, its
    beginning and the rest."""
    prompt, completion, text = (str(row.get(name) or "") for name in ("prompt", "completion", "text"))
    if chat := _chat_of(row):
        answers = [at for at, m in enumerate(chat.messages) if chats.is_learnt(m) and not m.get("tool_calls")]
        before = chat.messages[: answers[-1]] if answers else []
        return _told(before), chat.messages[answers[-1]]["content"] if answers else "", Chat(before, chat.tools)
    if prompt.strip() and completion.strip():
        return prompt, completion, None
    whole = completion if completion.strip() else text
    half = whole[: min(SHOWN_PROMPT, max(1, len(whole) // 2))]
    begun = half[: half.rfind(" ")] if " " in half[1:] else half
    return begun, whole[len(begun) :], None


def _question(prompt: str, chat: Chat | None, system: str) -> str:
    """What a person would write to ask the same: a system prompt that is always said needs no saying."""
    is_said = chat is not None and [m["role"] for m in chat.messages] == ["system", "user"] and chat.messages[0]["content"] == system
    return str(chat.messages[1]["content"]) if chat and is_said else prompt


def _prompt_row(model: Any, tokenizer: Any, prompt: str, answer_tokens: int) -> tuple[list[int], int]:
    """(token row, how many tokens of the prompt's beginning were left out), with room for an answer."""
    most = max(8, tokenizer.model_max_length - min(answer_tokens, tokenizer.model_max_length // 2))
    facts = language.facts_of(model, {"instruct": bool(getattr(tokenizer, "chat_template", None)), "system": ""})
    if facts["system"]:
        ids = _asking(tokenizer, [{"role": "system", "content": facts["system"]}, {"role": "user", "content": prompt}])
        return ids[-most:], max(0, len(ids) - most)
    if facts["instruct"]:
        return language.prompt_ids(tokenizer, prompt, most)
    ids = language.opening(tokenizer) + tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    return ids[-most:], max(0, len(ids) - most)
