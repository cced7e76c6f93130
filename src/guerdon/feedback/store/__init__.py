"""The store: feedback in SQLite or PostgreSQL, corrected by new records, erased on request. Light until one is opened."""

from guerdon.feedback.store.records import Erasure, Version
from guerdon.feedback.store.store import Store

__all__ = ["Erasure", "Store", "Version"]
