"""Methods of vLLM's worker processes beyond vLLM's own."""

from __future__ import annotations

from typing import Any


class Measuring:
    """A worker extension of vLLM's (`worker_extension_cls`), for engines that share a GPU."""

    cache_config: Any

    def alpharay_cache_bytes(self) -> int:
        """Bytes of this worker's GPU that hold its key-value cache, as configured or as measured at its start."""
        return int(
            self.cache_config.kv_cache_memory_bytes or getattr(self, "available_kv_cache_memory_bytes", 0)
        )
