"""Runs and what they leave: attempts, checkpoints, the curve. The row in SQL is queue, state and clock."""

from webapp.runs.models.attempt import Attempt, Fenced
from webapp.runs.models.curve import Checkpoint, MetricChunk
from webapp.runs.models.run import IdempotencyConflict, Run, advice_for, fit, suggested

__all__ = ["Attempt", "Checkpoint", "Fenced", "IdempotencyConflict", "MetricChunk", "Run", "advice_for", "fit", "suggested"]
