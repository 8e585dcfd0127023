"""Many branches off one checkpoint."""
