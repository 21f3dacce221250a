"""Real models for this folder's tests."""

from tests.support.models import large_model, smollm2, tiny_models

__all__ = ["large_model", "smollm2", "tiny_models"]
