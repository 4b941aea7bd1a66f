"""Radiance fields: how they are described, measured, shown and exported."""
