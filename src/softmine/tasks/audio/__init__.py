"""Audio clips: how they are described, measured, shown and exported."""
