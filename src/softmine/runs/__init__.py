"""Runs: their folder on disk, from its settings to checkpoints, images and how it ended."""
