"""Checkpoints on the line through two endpoints: merge(), checkpoint_sha256() and the errors they raise."""

from typing import TYPE_CHECKING, Any

from alpharay.callable_package import make_callable
from alpharay.merge.errors import MergeError

if TYPE_CHECKING:
    from alpharay.merge.adapters.merge import merge_adapters
    from alpharay.merge.checkpoints.fingerprint import checkpoint_sha256
    from alpharay.merge.write.run import MergedCheckpoint, MergeResult, merge

__all__ = ["MergeError", "MergeResult", "MergedCheckpoint", "checkpoint_sha256", "merge", "merge_adapters"]


def __getattr__(name: str) -> Any:
    """Imports numpy and the machinery on first use: `alpharay --help` must not pay for them."""
    if name == "checkpoint_sha256":
        from alpharay.merge.checkpoints.fingerprint import checkpoint_sha256

        return checkpoint_sha256
    if name == "merge_adapters":
        from alpharay.merge.adapters.merge import merge_adapters

        return merge_adapters
    if name in __all__:
        from alpharay.merge.write import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


make_callable(__name__, lambda: __getattr__("merge"))
