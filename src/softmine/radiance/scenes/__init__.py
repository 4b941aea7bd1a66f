"""Scenes: posed pictures in the formats people have them in, and one made here."""

from softmine.radiance.scenes.procedural import procedural
from softmine.radiance.scenes.read import read_scene
from softmine.radiance.scenes.scene import Bounds, Ndc, Scene, View

__all__ = ["Bounds", "Ndc", "Scene", "View", "procedural", "read_scene"]
