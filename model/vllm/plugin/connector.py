"""The KV connector: Positional Integrity Encoding inside vLLM's paged attention.

vLLM makes one `KeyturnConnector` in the scheduler and one in each worker. The scheduler's knows the documents
(`model.vllm.plugin.row_table`) and writes commands, which travel with each step; the workers' carry them out
(`model.vllm.plugin.pool`).

    on_new_request              parse what the client says
    get_num_new_matched_tokens  how many tokens from the prompt's front on are held
    update_state_after_alloc    a Load: rows → the request's blocks, before the step
    build_connector_meta        a Save: what the step computes → rows, after it

vLLM takes a run of tokens from the front of a prompt only. So an edit in the middle takes two requests: the prompt up
to the end of the edited span, whose new tokens are computed and saved, then the whole, of which all but the end is
loaded. What is not held, or no longer, is computed as ever: a lost row costs time, never correctness.

While a step is planned the documents do not change, and a step's loads come before its saves, in all workers. So a row
may be taken from one document for another in the same step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorHandshakeMetadata,
    KVConnectorMetadata,
    KVConnectorRole,
    SupportsHMA,
)
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import (
    KVConnectorPromMetrics,
    KVConnectorStats,
    PromMetric,
    PromMetricT,
)
from vllm.forward_context import ForwardContext
from vllm.logger import init_logger
from vllm.v1.core.kv_cache_manager import KVCacheBlocks
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_cache_interface import KVCacheConfig
from vllm.v1.metrics.cache_hit_source import CacheHitSource
from vllm.v1.request import Request

from model.vllm.plugin.metrics import PrometheusMetrics, Stats
from model.vllm.plugin.paged import layers_of
from model.vllm.plugin.pool import Load, Pool, Save
from model.vllm.plugin.row_table import NO_ROW, Ints, RowTable
from model.vllm.plugin.support import Support, UnfitError, support_of, without
from model.vllm.wire import KEY, Params, parse

logger = init_logger(f"vllm.{__name__}")

Key = tuple[str, int]
"""A document and the LoRA adapter that it was encoded with, 0 for none."""


@dataclass
class Commands(KVConnectorMetadata):
    """What the workers do in one step."""

    loads: list[Load] = field(default_factory=list)
    saves: list[Save] = field(default_factory=list)


@dataclass
class WorkerReport(KVConnectorHandshakeMetadata):
    """What a worker tells the scheduler before the first step: why it cannot take part, if it cannot."""

    obstacle: str | None


def _no_tokens() -> Ints:
    return np.zeros(0, dtype=np.int32)


@dataclass
class _Asked:
    """One request about a document, from its arrival to its end. `ids` is [prompt].

    `rows` and `origins` are what was found of it last; they hold until the step is planned.
    """

    key: Key
    ids: Ints
    params: Params
    num_local: int = 0
    rows: Ints = field(default_factory=_no_tokens)
    origins: Ints = field(default_factory=_no_tokens)
    counts: dict[str, int] | None = None


class KeyturnConnector(KVConnectorBase_V1, SupportsHMA):
    """The shim towards vLLM; see the module's docstring."""

    _cache_hit_source = CacheHitSource.HOST

    def __init__(self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._support = support_of(vllm_config, kv_cache_config)
        self._stats = Stats()
        self._asked: dict[str, _Asked] = {}
        self._loads: list[Load] = []
        self._pool: Pool | None = None
        self._documents = RowTable(0, 0)
        if isinstance(self._support, Support):
            self._documents = RowTable(self._support.num_rows, self._support.max_tokens)
        self._obstacle: str | None = None

    @property
    def requires_kv_delivery(self) -> bool:
        return False  # what is not saved is computed again

    # In the scheduler

    def set_xfer_handshake_metadata_pp_aware(
        self, metadata: dict[tuple[int, int], KVConnectorHandshakeMetadata]
    ) -> None:
        """All workers have their caches: take part if all of them can."""
        for report in metadata.values():
            if isinstance(report, WorkerReport) and report.obstacle:
                self._support = without(report.obstacle)
        logger.info("keyturn: %s", self._support)

    def on_new_request(self, request: Request) -> None:
        has_other_inputs = request.mm_features or request.prompt_embeds is not None
        if not isinstance(self._support, Support) or request.prompt_token_ids is None or has_other_inputs:
            return
        try:
            params = parse(request.kv_transfer_params, len(request.prompt_token_ids), request.cache_salt)
        except ValueError as error:
            logger.warning("keyturn: a request is served without reuse: %s", error)
            self._stats.add("refused", 1)
            return
        if params is not None:
            adapter = request.lora_request.lora_int_id if request.lora_request else 0
            ids = np.array(request.prompt_token_ids, dtype=np.int32)
            self._asked[request.request_id] = _Asked((params.document, adapter), ids, params)

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int) -> tuple[int | None, bool]:
        asked = self._asked.get(request.request_id)
        if asked is None:
            return 0, False
        asked.num_local = num_computed_tokens
        fresh_from = len(asked.ids) if asked.params.fresh_from is None else asked.params.fresh_from
        limit = max(0, min(request.num_tokens - 1, fresh_from))
        asked.rows, asked.origins = self._documents.find(asked.key, asked.ids, asked.params.serials, limit)
        missing = np.flatnonzero(asked.rows[num_computed_tokens:] == NO_ROW)
        held = int(missing[0]) if len(missing) else max(0, limit - num_computed_tokens)
        return held, False

    def update_state_after_alloc(self, request: Request, blocks: KVCacheBlocks, num_external_tokens: int) -> None:
        asked = self._asked.get(request.request_id)
        if asked is None:
            return
        start, end = asked.num_local, asked.num_local + num_external_tokens
        num_turned = 0
        if num_external_tokens:
            shifts = np.arange(start, end, dtype=np.int32) - asked.origins[start:end]
            self._loads.append(Load(blocks.get_block_ids()[0], start, asked.rows[start:end], shifts))
            num_turned = int(np.count_nonzero(shifts))
        if asked.counts is None:
            counts = {"kept": end - num_turned, "turned": num_turned, "encoded": len(asked.ids) - end}
            asked.counts = counts
            for name, count in counts.items():
                self._stats.add(name, count)

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> KVConnectorMetadata:
        commands = Commands(loads=self._loads)
        self._loads = []
        state = scheduler_output.kv_connector_block_state
        cached = scheduler_output.scheduled_cached_reqs
        computed = {new.req_id: new.num_computed_tokens for new in scheduler_output.scheduled_new_reqs}
        computed |= dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        starting = {new.req_id for new in scheduler_output.scheduled_new_reqs} | set(cached.resumed_req_ids)
        for request_id, num_tokens in scheduler_output.num_scheduled_tokens.items():
            asked = self._asked.get(request_id)
            if asked is None:
                continue
            if request_id in starting:
                params = asked.params
                self._documents.lay_out(asked.key, request_id, asked.ids, params.serials, is_partial=params.is_partial)
            start = computed[request_id]
            end = min(start + num_tokens, len(asked.ids))
            if start < end and state is not None and (block_ids := state.get_block_ids(request_id)) is not None:
                rows = self._documents.record(asked.key, request_id, start, end)
                if len(rows):
                    commands.saves.append(Save(block_ids[0], start, rows))
        return commands

    def request_finished(self, request: Request, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        asked = self._asked.pop(request.request_id, None)
        if asked is None:
            return False, None
        return False, {KEY: asked.counts or {}}

    def request_finished_all_groups(
        self, request: Request, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        return self.request_finished(request, [])

    def reset_cache(self) -> bool:
        self._documents.clear()
        return True

    def get_kv_connector_stats(self) -> KVConnectorStats | None:
        if self.role is not KVConnectorRole.SCHEDULER or not isinstance(self._support, Support):
            return None
        stats, self._stats = self._stats, Stats()
        stats.add("evictions", self._documents.num_evictions)
        self._documents.num_evictions = 0
        if stats.is_empty():
            return None
        stats.data["documents"] = len(self._documents)
        stats.data["bytes"] = self._documents.num_held * self._support.bytes_per_token
        return stats

    # In a worker

    def register_kv_caches(self, kv_caches: dict[str, Tensor]) -> None:
        if not isinstance(self._support, Support):
            return
        try:
            self._support.check_rotation()
            layers = layers_of(kv_caches, self._support)
        except UnfitError as error:
            self._obstacle = str(error)
            return
        except (AttributeError, IndexError) as error:  # something of vLLM's own has another shape than it had
            self._obstacle = f"This vLLM is not one that keyturn knows ({error})."
            return
        device = torch.device(self._support.device) if self._support.device else None
        self._pool = Pool(
            layers,
            num_rows=self._support.num_rows,
            block_size=self._support.block_size,
            frequencies=self._support.frequencies,
            device=device,
        )

    def get_handshake_metadata(self) -> KVConnectorHandshakeMetadata:
        return WorkerReport(self._obstacle)

    def start_load_kv(self, forward_context: ForwardContext, **kwargs: Any) -> None:
        for load in self._commands().loads:
            assert self._pool is not None
            self._pool.load(load)

    def wait_for_save(self) -> None:
        for save in self._commands().saves:
            assert self._pool is not None
            self._pool.save(save)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Everything was loaded before the step began."""

    def save_kv_layer(self, layer_name: str, kv_layer: Tensor, attn_metadata: Any, **kwargs: Any) -> None:
        """Everything is saved once the step is done."""

    def _commands(self) -> Commands:
        found = self._get_connector_metadata()
        assert isinstance(found, Commands)
        return found

    # For vLLM's metrics

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> KVConnectorStats | None:
        return Stats() if data is None else Stats(data)

    @classmethod
    def build_prom_metrics(
        cls,
        vllm_config: VllmConfig,
        metric_types: dict[type[PromMetric], type[PromMetricT]],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> KVConnectorPromMetrics | None:
        return PrometheusMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)
