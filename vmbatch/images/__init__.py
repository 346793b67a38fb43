"""Base images: the store, the recipes that fill it, and the overlays that jobs write to."""
