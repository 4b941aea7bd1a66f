"""Runs: their folder on disk, from its settings to checkpoints, pictures and how it ended."""
