"""The training loop: resumable, on a budget of tokens or of minutes.

Matrices are trained by Muon (Jordan et al., 2024), which at few tokens learns clearly more from each than AdamW does;
the embedding and the norms by AdamW. Batches are a function of the step, so a checkpoint holds weights, optimizer
state and a handful of numbers, and a resumed run repeats an uninterrupted one exactly.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, Dataset

from model.embedded.checkpoint import best_dtype
from model.errors import ModelError
from model.machine import weights as digest_of
from model.training import network
from model.training.data import Batch, Sampler
from model.training.muon import Float32Muon
from model.training.recipes import Recipe
from model.training.shards import TokenFiles

STATE = "state.pt"
WEIGHTS = "model.safetensors"
TRAINED = "training.json"
"""Of a finished model: what its weights have seen."""


@dataclass
class Progress:
    """Where a run stands; `seconds` is time spent in steps, over all sittings."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    fraction: float = 0.0
    """Of the budget, 0 to 1."""
    earlier: int = 0
    """Tokens that the weights had seen before this run."""

    def seconds_left(self) -> float:
        return self.seconds * (1 - self.fraction) / self.fraction if self.fraction else 0.0

    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


Validate = Callable[[network.Network, network.Parameters], dict[str, Any]]
Report = Callable[[Progress], None]
ReportValidation = Callable[[Progress, dict[str, Any]], None]


class Trainer:
    """One run in one work folder; `run` goes on where the folder's checkpoint stopped.

    A run is told by its recipe, the model it started from and its texts: `ModelError` when the folder's is another one.
    """

    def __init__(
        self,
        recipe: Recipe,
        files: TokenFiles,
        tokenizer: Tokenizer,
        folder: Path,
        *,
        minutes: float | None = None,
        device: str | None = None,
        start: Path | None = None,
    ) -> None:
        if tokenizer.get_vocab_size() > recipe.shape.vocab_size:
            raise ModelError("The work folder's tokenizer has more entries than the recipe; use another work folder.")
        self.recipe, self.folder, self.minutes = recipe, folder, minutes
        self.progress = Progress()
        self._origin = {
            "recipe": recipe.name,
            "from": "" if start is None else digest_of(start),
            "texts": hashlib.sha256(files.tokens.tobytes()).hexdigest()[:16],
        }
        self._is_whole, self._is_stopping = True, False
        self._device = _usable(device or recipe.device)
        self.parameters = {
            name: tensor.detach().to(self._device).requires_grad_()
            for name, tensor in network.new_parameters(recipe.shape, 0).items()
        }
        self._dtype = _dtype(recipe.dtype, self._device)
        self._optimizers = _optimizers(recipe, self.parameters, self._dtype)
        self._network = network.Network(recipe.shape, self._dtype, compiled=_compiles(recipe))
        if (folder / STATE).is_file():
            self._load()
        elif start is not None:
            self._start_from(start)
        # Other samples than those that the weights have seen.
        self._sampler = Sampler(files, tokenizer, self.progress.earlier)

    def run(
        self,
        report: Report = lambda progress: None,
        validate: Validate | None = None,
        report_validation: ReportValidation = lambda progress, result: None,
        max_steps: int | None = None,
    ) -> None:
        """Train to the end of the budget, for `max_steps` or until `stop`.

        The checkpoint is saved however this ends, except in the middle of the weights' change: then the last one stays.
        """
        now = self.progress
        last_saved, first_step = now.seconds, now.step
        started = time.monotonic()
        try:
            for batch in self._batches():
                self._step(batch)
                now.seconds += time.monotonic() - started
                now.fraction = self._fraction()
                report(now)
                if now.seconds - last_saved > 60 * self.recipe.checkpoint_minutes:
                    last_saved = now.seconds
                    self.save()
                    if validate is not None:
                        report_validation(now, validate(self._network, self.parameters))
                if self._is_stopping or (max_steps is not None and now.step - first_step >= max_steps):
                    break
                started = time.monotonic()
        finally:
            if self._is_whole:
                self.save()
        if validate is not None and not self._is_stopping:
            report_validation(now, validate(self._network, self.parameters))

    def stop(self) -> None:
        """End `run` behind the step that it is in; a signal's handler may call this."""
        self._is_stopping = True

    def _fraction(self) -> float:
        now = self.progress
        return now.seconds / (60 * self.minutes) if self.minutes else now.tokens / self.recipe.tokens

    def _batches(self) -> Iterator[Batch]:
        """The batches from the present step to the end of the budget, made by other processes if the recipe says so.

        With a budget of minutes nobody knows ahead how long the sequences of a later step will be.
        """
        if self.minutes is None and self.recipe.workers:
            yield from DataLoader(
                _Steps(self.recipe, self._sampler, self.progress.step),
                batch_size=None,
                num_workers=self.recipe.workers,
                multiprocessing_context="fork",
            )
            return
        while self.progress.fraction < 1.0:
            yield _batch(self.recipe, self._sampler, self.progress.step, self.progress.fraction)

    def _step(self, batch: Batch) -> None:
        recipe, now = self.recipe, self.progress
        length = batch.ids.shape[1]
        loss = 0.0
        for part in batch.parts(max(1, recipe.tokens_per_pass // length)):
            share = float(part.weights.sum() / batch.weights.sum())
            loss += self._forward_backward(part, share)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        factor = recipe.rate(now.fraction, now.step)
        self._is_whole = False
        for optimizer, rate in zip(self._optimizers, (recipe.learning_rate, recipe.embedding_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        now.step += 1
        now.tokens += batch.ids.size
        now.loss = loss if now.step == 1 else 0.98 * now.loss + 0.02 * loss
        self._is_whole = True

    def _forward_backward(self, batch: Batch, share: float) -> float:
        """Add the gradient of a part of the batch, which is `share` of it; returns its part of the loss."""
        fields = (torch.from_numpy(field).to(self._device) for field in batch.fields())
        loss = self._network.loss(self.parameters, *fields) * share
        torch.autograd.backward(loss)
        return loss.item()

    def save(self) -> None:
        """Write the checkpoint; a crash meanwhile leaves the old one."""
        state = {
            "progress": asdict(self.progress),
            "origin": self._origin,
            "shape": self.recipe.shape.to_dict(),
            "dtype": str(self._dtype).removeprefix("torch."),
            "parameters": {name: tensor.detach() for name, tensor in self.parameters.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / (STATE + ".part")
        torch.save(state, temporary)
        temporary.replace(self.folder / STATE)

    def _start_from(self, folder: Path) -> None:
        """Take a finished model's weights. Its optimizer state is gone; the recipe's warm-up makes up for it."""
        try:
            found = load_file(folder / WEIGHTS)
            trained = json.loads((folder / TRAINED).read_text(encoding="utf-8")) if (folder / TRAINED).is_file() else {}
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"The model in {folder} cannot be read ({type(error).__name__}).") from error
        if {name: tensor.shape for name, tensor in found.items()} != {
            name: tensor.shape for name, tensor in self.parameters.items()
        }:
            raise ModelError(
                f"The model in {folder} has another shape than the recipe; choose the recipe it came from."
            )
        self._take(found)
        self.progress.earlier = int(trained.get("tokens", 0))

    def _take(self, weights: network.Parameters) -> None:
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(weights[name])

    def _load(self) -> None:
        state = read_state(self.folder)
        if state["shape"] != self.recipe.shape.to_dict():
            raise ModelError(f"{self.folder} holds a run of another shape; use another work folder or delete it.")
        if others := [f"{key} {value!r}" for key, value in state["origin"].items() if value != self._origin[key]]:
            raise ModelError(
                f"{self.folder} holds a run with {', '.join(others)}; repeat its options or use another work folder."
            )
        self.progress = Progress(**state["progress"])
        self.progress.fraction = self._fraction()  # the budget may be another one now
        self._take(state["parameters"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


class _Steps(Dataset[Batch]):
    """The batches of a run on a budget of tokens, by number."""

    def __init__(self, recipe: Recipe, sampler: Sampler, first: int) -> None:
        self._recipe, self._sampler, self._first = recipe, sampler, first

    def __len__(self) -> int:
        return max(0, self._recipe.num_steps - self._first)

    def __getitem__(self, index: int) -> Batch:
        step = self._first + index
        return _batch(self._recipe, self._sampler, step, step * self._recipe.tokens_per_step / self._recipe.tokens)


def _batch(recipe: Recipe, sampler: Sampler, step: int, fraction: float) -> Batch:
    length = recipe.length_at(fraction)
    return sampler.batch(step, max(1, recipe.tokens_per_step // length), length)


def _usable(device: str) -> str:
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelError(
            "This recipe wants a GPU and torch finds none; choose --recipe cpu, or try it with --device cpu."
        )
    return device


def _dtype(name: str, device: str) -> torch.dtype:
    """The arithmetic's type. A processor that does not multiply bfloat16 is many times faster in float32."""
    if device == "cpu" and name == "bfloat16":
        name = "auto"
    return best_dtype(name)


def read_state(folder: Path) -> dict[str, Any]:
    """The checkpoint of a work folder; raises `ModelError` when there is none or it cannot be read."""
    path = folder / STATE
    if not path.is_file():
        raise ModelError(f"{folder} has no training checkpoint; run `keyturn model train` first.")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises many kinds, all of them about the file
        raise ModelError(f"{path} cannot be read ({type(error).__name__}); delete it and train again.") from error
    if state.get("origin", {}).keys() != {"recipe", "from", "texts"}:
        raise ModelError(f"{path} is of an earlier version, which trained otherwise; use another work folder.")
    return state


def _optimizers(recipe: Recipe, parameters: network.Parameters, dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """Of the matrices and of the rest; their rates are set anew in each step."""
    matrices = [tensor for name, tensor in parameters.items() if tensor.ndim == 2 and "embed" not in name]
    others = [tensor for name, tensor in parameters.items() if tensor.ndim != 2 or "embed" in name]
    muon = Float32Muon if dtype == torch.float32 else torch.optim.Muon
    return [
        muon(matrices, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _compiles(recipe: Recipe) -> bool:
    """Compiling needs a C++ compiler; without one the run is slower and the same."""
    return recipe.compile and shutil.which("g++") is not None
