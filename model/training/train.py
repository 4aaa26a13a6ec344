"""The training loop: resumable, on a budget of tokens or of minutes.

Matrices are trained by Muon (Jordan et al., 2024), which at few tokens learns clearly more from each than AdamW does;
the embedding and the norms by AdamW. Batches are a function of the step, so a checkpoint holds weights, optimizer
state and a handful of numbers, and a resumed run repeats an uninterrupted one exactly.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.engine import ModelError
from model.training import network
from model.training.data import Sampler
from model.training.recipes import Recipe

STATE = "state.pt"


@dataclass
class Progress:
    """Where a run stands; `seconds` is time spent in steps, over all sittings."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    fraction: float = 0.0
    """Of the budget, 0 to 1."""

    def seconds_left(self) -> float:
        return self.seconds * (1 - self.fraction) / self.fraction if self.fraction else 0.0

    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


Validate = Callable[[network.Parameters], dict[str, Any]]
Report = Callable[[Progress], None]
ReportValidation = Callable[[Progress, dict[str, Any]], None]


class Trainer:
    """One run in one work folder; `run` goes on where the folder's checkpoint stopped."""

    def __init__(
        self,
        recipe: Recipe,
        texts: list[str],
        tokenizer: Tokenizer,
        folder: Path,
        *,
        minutes: float | None = None,
        seed: int = 0,
    ) -> None:
        if tokenizer.get_vocab_size() > recipe.shape.vocab_size:
            raise ModelError("The work folder's tokenizer has more entries than the recipe; use another work folder.")
        self.recipe, self.folder, self.minutes = recipe, folder, minutes
        self.progress = Progress()
        self.parameters = network.new_parameters(recipe.shape, seed)
        self._sampler = Sampler(texts, tokenizer, seed)
        self._optimizers = _optimizers(recipe, self.parameters)
        self._dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[recipe.dtype]
        self._loss: Callable[..., Tensor] = (
            torch.compile(network.loss, dynamic=False) if _compiles(recipe) else network.loss
        )
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}
        if (folder / STATE).is_file():
            self._load()

    def run(
        self,
        report: Report = lambda progress: None,
        validate: Validate | None = None,
        report_validation: ReportValidation = lambda progress, result: None,
        max_steps: int | None = None,
    ) -> None:
        """Train to the end of the budget or for `max_steps`; the checkpoint is saved however this ends."""
        last_saved, first_step = self.progress.seconds, self.progress.step
        try:
            while self.progress.fraction < 1.0 and (max_steps is None or self.progress.step - first_step < max_steps):
                self._step()
                report(self.progress)
                if self.progress.seconds - last_saved > 60 * self.recipe.checkpoint_minutes:
                    last_saved = self.progress.seconds
                    self.save()
                    if validate is not None:
                        report_validation(self.progress, validate(self.parameters))
        finally:
            self.save()
        if validate is not None:
            report_validation(self.progress, validate(self.parameters))

    def _step(self) -> None:
        started = time.monotonic()
        recipe, now = self.recipe, self.progress
        length = recipe.length_at(now.fraction)
        batch = self._sampler.batch(now.step, max(1, recipe.tokens_per_step // length), length)
        if length not in self._tables:
            self._tables[length] = network.rotary_table(recipe.shape, length)
        factor = recipe.rate(now.fraction, now.step)
        loss = self._loss(
            recipe.shape,
            self.parameters,
            *(torch.from_numpy(part.copy()) for part in (batch.ids, batch.targets, batch.weights)),
            *self._tables[length],
            self._dtype,
        )
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        now.step += 1
        now.tokens += batch.ids.size
        now.seconds += time.monotonic() - started
        now.loss = loss.item() if now.step == 1 else 0.9 * now.loss + 0.1 * loss.item()
        now.fraction = now.seconds / (60 * self.minutes) if self.minutes else now.tokens / recipe.tokens

    def save(self) -> None:
        """Write the checkpoint; a crash meanwhile leaves the old one."""
        state = {
            "progress": asdict(self.progress),
            "minutes": self.minutes,
            "shape": self.recipe.shape.to_dict(),
            "parameters": {name: tensor.detach() for name, tensor in self.parameters.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / (STATE + ".part")
        torch.save(state, temporary)
        temporary.replace(self.folder / STATE)

    def _load(self) -> None:
        state = read_state(self.folder)
        if state["shape"] != self.recipe.shape.to_dict():
            raise ModelError(f"{self.folder} holds a run of another shape; use another work folder or delete it.")
        self.progress = Progress(**state["progress"])
        self.minutes = self.minutes or state["minutes"]
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(state["parameters"][name])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def read_state(folder: Path) -> dict[str, Any]:
    """The checkpoint of a work folder; raises `ModelError` when there is none or it cannot be read."""
    path = folder / STATE
    if not path.is_file():
        raise ModelError(f"{folder} has no training checkpoint; run `keyturn model train` first.")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds, all of them about the file
        raise ModelError(f"{path} cannot be read ({type(error).__name__}); delete it and train again.") from error
    return state


def _optimizers(recipe: Recipe, parameters: network.Parameters) -> list[torch.optim.Optimizer]:
    matrices = [tensor for name, tensor in parameters.items() if tensor.ndim == 2 and "embed" not in name]
    others = [tensor for name, tensor in parameters.items() if tensor.ndim != 2 or "embed" in name]
    muon = {"params": matrices, "peak": recipe.learning_rate}
    adam = {"params": others, "peak": recipe.embedding_rate}
    return [
        torch.optim.Muon([muon], weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([adam], betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _compiles(recipe: Recipe) -> bool:
    """Compiling needs a C++ compiler; without one the run is slower and the same."""
    return recipe.compile and shutil.which("g++") is not None
