"""What outlives the server: requests, the log of what they taught, feedback, and snapshots of what was learnt."""

from alpharay.serve.learn.store.database import (
    Feedback,
    Logged,
    Record,
    RecordRefused,
    Store,
    StoreDown,
    UnknownRequest,
)
from alpharay.serve.learn.store.place import check_url, default_url, resolved, shown_url
from alpharay.serve.learn.store.starting import existing_store, ready_store

__all__ = [
    "Feedback",
    "Logged",
    "Record",
    "RecordRefused",
    "Store",
    "StoreDown",
    "UnknownRequest",
    "check_url",
    "default_url",
    "existing_store",
    "ready_store",
    "resolved",
    "shown_url",
]
