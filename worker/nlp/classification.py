"""Sentiment and any other text classification: one text, one of 2 to 1,000 labels."""

from __future__ import annotations

from worker.spec import Field, Role


class Classification:
    slug = "classification"
    title = "Text classification"
    about = "Sort texts into labels: sentiment, topic, intent, anything with 2 to 1,000 classes."
    roles = (
        Role(
            "text",
            "Text",
            hints=("text", "review", "sentence", "comment", "content", "message", "body", "title", "标题", "评论", "文本", "内容"),
        ),
        Role(
            "label",
            "Label",
            is_label=True,
            hints=("label", "sentiment", "class", "category", "target", "topic", "intent", "标签", "学科", "类别", "情感"),
        ),
    )
    inputs = (Field("text", "Text", long=True, most_chars=20_000),)
    settings = ()
    methods = (
        ("full", "Full", "Every weight learns. Best scores; takes the longest."),
        ("quick", "Quick", "The lower layers stay as they are and are computed once. Nearly the same scores in a fraction of the time."),
        ("lora", "LoRA", "Small adapters learn beside frozen weights. Small downloads; for large base models."),
    )
    primary_metric = "macro_f1"
    metrics = (
        ("macro_f1", "Macro-F1", "Mean of the F1 of each class: every class counts the same."),
        ("accuracy", "Accuracy", "Share of rows labelled right."),
    )
