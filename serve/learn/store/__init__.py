"""Persistent state: requests, logged outcomes, feedback, snapshots of learnt state, files and batches."""

from alpharay.serve.learn.store.batches import BatchTables, Full, StoredBatch, StoredFile
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
from alpharay.serve.learn.store.starting import existing_store, ready_folder, ready_store

__all__ = [
    "BatchTables",
    "Feedback",
    "Full",
    "Logged",
    "Record",
    "RecordRefused",
    "Store",
    "StoreDown",
    "StoredBatch",
    "StoredFile",
    "UnknownRequest",
    "check_url",
    "default_url",
    "existing_store",
    "ready_folder",
    "ready_store",
    "resolved",
    "shown_url",
]
