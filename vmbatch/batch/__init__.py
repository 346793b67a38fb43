"""Adapters of batch systems: each maps its own events to `vmbatch.lifecycle`."""
