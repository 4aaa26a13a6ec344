"""Recipes: everything about a training run but its data and its place."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from model.errors import ModelError
from model.training.network import Shape

RECIPES = Path(__file__).with_name("recipes.toml")


@dataclass(frozen=True)
class Recipe:
    """One table of recipes.toml, where each field is explained."""

    name: str
    shape: Shape
    tokens: int
    tokens_per_step: int
    tokens_per_pass: int
    lengths: tuple[tuple[float, int], ...]
    learning_rate: float
    embedding_rate: float
    warmup_steps: int
    decay_share: float
    weight_decay: float
    checkpoint_minutes: float
    dtype: str = "bfloat16"
    compile: bool = False
    device: str = "cpu"
    workers: int = 0

    @property
    def num_steps(self) -> int:
        """Steps of a run of `tokens`."""
        return -(-self.tokens // self.tokens_per_step)

    def rate(self, progress: float, step: int) -> float:
        """The factor of the learning rates: a linear rise, a plateau, a linear fall (warm-up, stable, decay)."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (1.0 - progress) / self.decay_share)
        return rise * max(0.02, fall)

    def length_at(self, progress: float) -> int:
        """Tokens of a sequence at this part of the run: short ones first, they are cheaper and have more middles."""
        return next(length for until, length in self.lengths if progress < until or until >= 1.0)


def load_recipe(name: str, path: Path = RECIPES) -> Recipe:
    """Read one recipe; raises `ModelError` for a name that the file does not have."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    if name not in tables:
        raise ModelError(f"There is no recipe '{name}'; choose one of: {', '.join(sorted(tables))}.")
    table = dict(tables[name])
    lengths = tuple((float(until), int(length)) for until, length in table.pop("lengths"))
    shape = table.pop("shape")
    if isinstance(shape, str):
        shape = tables[shape]["shape"]
    return Recipe(name=name, shape=Shape(**shape), lengths=lengths, **table)
