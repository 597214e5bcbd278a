"""LoRA: small adapters beside frozen weights, and a head that learns whole."""

from __future__ import annotations

from typing import Any

# What peft does not know by itself. Query and value: adapters on every linear layer are slower than Full on a processor.
TARGETS = {
    "distilbert": ["q_lin", "v_lin"],
    "modernbert": ["Wqkv"],
    "albert": ["query", "value"],
    "mpnet": ["q", "v"],
    "marian": ["q_proj", "v_proj"],
    "m2m_100": ["q_proj", "v_proj"],
    "mbart": ["q_proj", "v_proj"],
    "pegasus": ["q_proj", "v_proj"],
}


def with_adapters(model: Any, settings: dict[str, Any]) -> Any:
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    kind = model.config.model_type
    head = [name for name, part in model.named_children() if part is not model.base_model and any(True for _p in part.parameters())]
    if getattr(model.base_model, "pooler", None) is not None:
        head.append("pooler")
    config = LoraConfig(
        r=settings["lora_rank"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        target_modules=TARGETS.get(kind) or list(KNOWN.get(kind, ())) or "all-linear",
        modules_to_save=[] if model.can_generate() else head,  # a language model's head is its vocabulary: it came trained
    )
    return get_peft_model(model, config)
