"""Forwarded ports of the guests on this node."""
