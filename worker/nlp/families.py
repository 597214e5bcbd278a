"""What kind of network a model is, read off its configuration. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENCODER, ENCODER_DECODER, DECODER = "encoder", "encoder-decoder", "decoder"
SHAPES = (ENCODER, ENCODER_DECODER, DECODER)
# fmt: off
DECODERS = frozenset({
    "bloom", "codegen", "cohere", "cohere2", "ctrl", "deepseek_v2", "deepseek_v3", "ernie4_5", "exaone4", "falcon",
    "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj",
    "granite", "helium", "llama", "mistral", "ministral", "mixtral", "mpt", "nemotron", "olmo", "olmo2", "olmo3",
    "openai-gpt", "opt", "persimmon", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3",
    "stablelm", "starcoder2", "xglm",
})
ENCODER_DECODERS = frozenset({
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "fsmt", "led", "longt5", "m2m_100", "marian", "mbart",
    "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "switch_transformers", "t5", "t5gemma",
    "umt5",
})
# fmt: on


def has_head(config: Mapping[str, Any], kind: str) -> bool:
    """Whether a model folder came with a trained output layer of this kind, "ForQuestionAnswering" for example."""
    return any(str(name).endswith(kind) for name in config.get("architectures") or ())


def shape_of(config: Mapping[str, Any]) -> str:
    """encoder, encoder-decoder or decoder; an unknown family is told by the architectures that its configuration names."""
    kind = str(config.get("model_type", ""))
    if config.get("is_encoder_decoder") or kind in ENCODER_DECODERS:
        return ENCODER_DECODER
    architectures = " ".join(str(name) for name in config.get("architectures") or ())
    if kind in DECODERS or config.get("is_decoder") or "ForCausalLM" in architectures or "LMHeadModel" in architectures:
        return DECODER
    return ENCODER
