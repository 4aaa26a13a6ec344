"""The plugin's counters in vLLM's Prometheus metrics and in its log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vllm.config import VllmConfig
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import (
    KVConnectorPromMetrics,
    KVConnectorStats,
    PromMetric,
    PromMetricT,
)

COUNTERS = {
    "kept": "Prompt tokens whose keys and values were kept where they stood.",
    "turned": "Prompt tokens whose keys were turned to a new position.",
    "encoded": "Prompt tokens that the model computed.",
    "refused": "Requests whose parameters made no sense, served without reuse.",
    "evictions": "Documents that were forgotten to make room.",
}
GAUGES = {
    "documents": "Documents that are held.",
    "bytes": "Bytes of keys and values that are held, of one rank.",
}


@dataclass
class Stats(KVConnectorStats):
    """Counts since the last report, and the latest sizes."""

    data: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))

    def add(self, name: str, count: int) -> None:
        self.data[name] += count

    def reset(self) -> None:
        self.data = dict.fromkeys(COUNTERS, 0)

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        for name in COUNTERS:
            self.data[name] = self.data.get(name, 0) + other.data.get(name, 0)
        self.data |= {name: other.data[name] for name in GAUGES if name in other.data}
        return self

    def reduce(self) -> dict[str, int | float]:
        return {f"keyturn {name}": value for name, value in self.data.items()}

    def is_empty(self) -> bool:
        return not any(self.data.get(name) for name in COUNTERS)


class PrometheusMetrics(KVConnectorPromMetrics):
    """`keyturn:tokens_kept_total` and so on, one series an engine."""

    def __init__(
        self,
        vllm_config: VllmConfig,
        metric_types: dict[type[PromMetric], type[PromMetricT]],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> None:
        super().__init__(vllm_config, metric_types, labelnames, per_engine_labelvalues)
        counters = {name: self._counter_cls(_full(name), meaning, labelnames) for name, meaning in COUNTERS.items()}
        gauges = {name: self._gauge_cls(_full(name), meaning, labelnames) for name, meaning in GAUGES.items()}
        self._counters = self._of_each_engine(counters)
        self._gauges = self._of_each_engine(gauges)

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        for name, metric in self._counters[engine_idx].items():
            metric.inc(transfer_stats_data.get(name, 0))
        for name, metric in self._gauges[engine_idx].items():
            if name in transfer_stats_data:
                metric.set(transfer_stats_data[name])

    def _of_each_engine(self, metrics: dict[str, Any]) -> dict[int, dict[str, Any]]:
        return {
            engine: {name: metric.labels(*values) for name, metric in metrics.items()}
            for engine, values in self.per_engine_labelvalues.items()
        }


def _full(name: str) -> str:
    return f"keyturn:tokens_{name}" if name in ("kept", "turned", "encoded") else f"keyturn:{name}"
