"""What the documentation shows of the API: a request and the answer to it for each step from a file to an answer.
tests/api/test_docs.py compares the answers with what the operations give."""

from __future__ import annotations

import json
from typing import Any

VERSION, DATASET, RUN, MODEL = (f"01a222bc-{n}-7348-9dac-7e6e02bbf6be" for n in ("212e", "1acc", "680c", "a9c4"))


def curl(address: str, *more: str) -> str:
    return " \\\n     ".join(['curl -H "Authorization: Bearer $TOKEN"', *more, f"$API{address}"])


def written(answer: Any) -> str:
    return json.dumps(answer, indent=2, ensure_ascii=False)


ME = {"username": "owner", "teams": [{"id": "01a222aa-0000-7000-8000-000000000001", "name": "Support", "role": "owner"}]}
FINDING = {
    "code": "label_variants",
    "message": "Labels that look like another spelling of another one: 2. Check the suggested merges.",
    "level": "warning",
    "asks": "labels",
    "count": 2,
    "column": "category",
}
IMPORTED = {
    "id": DATASET,
    "name": "Tickets",
    "task": "classification",
    "state": "needs_mapping",
    "reason": "",
    "rows": 320,
    "rejected": 0,
    "blank": 0,
    "findings": [FINDING],
    "questions": [FINDING],  # of the findings those that hold the version back
    "problems": [{"row": 17, "column": "category", "message": "Row 17: The label is empty."}],
    "columns": ["ticket", "category", "agent"],
    "labels": [{"name": "Billing", "rows": 47, "missing": False}, {"name": "Biling", "rows": 4, "missing": False}],
    "joins": {"Biling": "Billing"},
    "fits_better": "",
    "several_labels": {},
    "mapping": {"text": "ticket", "label": "category"},
    "version": None,
    "versions": [],
    "created_at": "2026-11-28T15:18:02+00:00",
}
READY = IMPORTED | {
    "state": "ready",
    "questions": [],
    "rows": 314,
    "version": VERSION,
    "versions": [{"id": VERSION, "number": 1, "hash": "c0c7deab69ad…", "rows": 314}],
}
STARTED = {
    "id": RUN,
    "name": "tickets-1",
    "state": "queued",
    "desired": "run",
    "reason": "",
    "reason_code": "",
    "position": 1,
    "step": 0,
    "steps": 0,
    "epoch": 0,
    "eta_s": None,
    "tokens_per_s": 0,
    "progress": {},
    "worker": "",
    "metrics": {},
    "model": None,
    "checkpoint": None,
    "attempts": 0,
    "started_at": None,
    "finished_at": None,
    "task": "classification",
    "method": "full",
    "settings": {"epochs": 4},
    "dataset": {"id": DATASET, "name": "Tickets"},
    "version": {"id": VERSION, "number": 1, "hash": "c0c7deab69ad…"},
    "base_model": {"id": MODEL, "name": "all-MiniLM-L6-v2"},
    "base_reason": "The texts are in English, which this base model reads.",
    "baselines": {
        "split": "test",
        "rows": 29,
        "scores": {"majority": {"macro_f1": 0.078}},
        "intervals": {"majority": {"macro_f1": [0.031, 0.13]}},
    },
    "created_at": "2026-11-28T15:20:00+00:00",
}
POINTS = {
    "points": [{"step": 15, "epoch": 1.0, "time": 9.4, "values": {"loss": 0.74, "eval_loss": 0.71, "eval_macro_f1": 0.79}}],
    "log": [{"at": 1790000000.0, "level": "info", "text": "256 rows to learn from, 29 to validate, 45 steps."}],
    "next": "1.12",
    "cut": None,
}
ANSWERED = {
    "id": "01a222ef-0000-7000-8000-000000000002",
    "label": "Billing",
    "scores": {"Billing": 0.93, "Shipping": 0.05, "Returns": 0.02},
    "cut": 0,
    "latency_ms": 18.2,
    "engine": "ctranslate2 int8",
}

EXAMPLES: dict[str, dict[str, str]] = {
    "GET /api/v1/me": {"request": curl("/me"), "answer": written(ME)},
    "POST /api/v1/datasets": {
        "request": curl("/datasets", "-F file=@tickets.csv -F name=Tickets"),
        "answer": written(IMPORTED | {"state": "importing"}),
    },
    "GET /api/v1/datasets/{pk}": {"request": curl(f"/datasets/{DATASET}"), "answer": written(IMPORTED)},
    "POST /api/v1/datasets/{pk}/versions": {
        "request": curl(
            f"/datasets/{DATASET}/versions",
            """--json '{"mapping": {"text": "ticket", "label": "category"}, "labels": {"Biling": "Billing"}, "accept_rejected": true}'""",
        ),
        "answer": written(READY),
    },
    "POST /api/v1/runs": {
        "request": curl(
            "/runs", '-H "Idempotency-Key: first-run"', f"""--json '{{"version": "{VERSION}", "settings": {{"epochs": 4}}}}'"""
        ),
        "answer": written(STARTED),
    },
    "GET /api/v1/runs/{pk}/points": {"request": curl(f"/runs/{RUN}/points?after="), "answer": written(POINTS)},
    "POST /api/v1/models/{pk}/predictions": {
        "request": curl(f"/models/{MODEL}/predictions", """--json '{"inputs": {"text": "I was charged twice"}}'"""),
        "answer": written(ANSWERED),
    },
}
