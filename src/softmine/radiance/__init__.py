"""Posed photos to radiance fields: scenes, cameras, fields and volume rendering."""
