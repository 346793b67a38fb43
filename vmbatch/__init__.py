"""Runs unmodified batch jobs inside virtual machines, on the cluster that a site already has."""

__version__ = "0.1.0"
