"""Tiny models of the families that the plugin claims to know, and of some that it refuses, in vLLM's own environment.

    .vllm/bin/python -m tests.vllm.families FOLDER        prints one JSON object a model

A model of one layer makes Positional Integrity Encoding exact: the keys and values of the first layer depend on a
token and its position only. So after an edit the plugin's answer must be the one of a full computation.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONWARNINGS": "ignore"}

import numpy as np
import torch
import transformers
from vllm import LLM, SamplingParams

from model.factory import DEFAULT_MODEL
from model.vllm.plugin import support
from model.vllm.wire import KEY, Params, salt

VOCAB_SIZE = 512
SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama 3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama yarn": ("Llama", {"rope_parameters": YARN}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "gemma": ("Gemma", {}),
    "granite": ("Granite", {}),
    "phi3": ("Phi3", {"sliding_window": None}),
    "llama dynamic": ("Llama", {"rope_parameters": DYNAMIC}),
    "mistral sliding": ("Mistral", {"sliding_window": 64}),
    "olmo2": ("Olmo2", {}),
    "gemma2": ("Gemma2", {"num_hidden_layers": 2, "sliding_window": 64}),
}


# vLLM runs it by code of its own that does not show how keys are rotated: what a worker finds out, it must tell.
support.MODEL_TYPES |= {"olmo2"}


def main(folder: Path) -> None:
    for name in MODELS:
        found = {"model": name} | try_model(folder / name.replace(" ", "-"), *MODELS[name])
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def try_model(folder: Path, family: str, more: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES | more)
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(DEFAULT_MODEL).save_pretrained(folder)
    llm = LLM(
        str(folder),
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        kv_transfer_config={
            "kv_connector": "KeyturnConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"memory_mb": 16},
        },
        disable_log_stats=True,
    )
    found = edited(llm)
    del llm
    gc.collect()
    return found


def edited(llm: LLM) -> dict[str, Any]:
    """A document, an insertion near its front, and the likeliest next tokens: with the plugin, and from nothing."""
    rng = random.Random(3)
    ids = [rng.randrange(3, VOCAB_SIZE) for _ in range(600)]
    serials = list(range(600))
    ask(llm, ids, serials, epoch=0)
    ids[40:45] = [rng.randrange(3, VOCAB_SIZE) for _ in range(17)]
    serials[40:45] = range(1000, 1017)
    ask(llm, ids[:57], serials[:57], epoch=1, partial=True)
    ours, counts = ask(llm, ids, serials, epoch=1)
    stock, _ = ask(llm, ids, None, epoch=2)
    apart = max((abs(ours[token] - stock[token]) for token in ours if token in stock), default=99.0)
    return {"counts": counts, "apart": apart, "same_order": list(ours)[:3] == list(stock)[:3]}


def ask(
    llm: LLM, ids: list[int], serials: list[int] | None, *, epoch: int, partial: bool = False
) -> tuple[dict[int, float], dict[str, int] | None]:
    extra = {}
    if serials is not None:
        extra = {"kv_transfer_params": Params("d", np.array(serials), partial).to_json()}
    sampling = SamplingParams(max_tokens=1, temperature=0, logprobs=10, extra_args=extra)
    prompt = {"prompt_token_ids": list(ids), "cache_salt": salt("d", epoch)}
    [answer] = llm.generate(prompt, sampling, use_tqdm=False)
    said = (answer.kv_transfer_params or {}).get(KEY)
    return {token: value.logprob for token, value in answer.outputs[0].logprobs[0].items()}, said


if __name__ == "__main__":
    main(Path(sys.argv[1]))
