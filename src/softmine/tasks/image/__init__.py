"""Images: how they are described, measured, shown and exported."""
