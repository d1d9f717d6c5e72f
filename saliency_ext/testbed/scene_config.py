"""What varies from scene to scene, and within which bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..checks import bad_type, bad_value
from ._placement import Distance


@dataclass(frozen=True)
class SceneConfig:
    """What varies from scene to scene, and within which bounds.

    objects: 1, 2, or None for two with probability 0.7.
    digits: the digits that may appear.
    same_digit: both objects are the same digit in two handwritings; otherwise always two digits.
    sides, second_sides: (smallest, largest) side in pixels of the frame of object 1 and 2, in [8, 30]; None = as object 1.
    contrast: (lowest, highest) grey levels between ink and the mean behind it; tint: highest colour difference, in grey levels.
    distance: of the two objects.
    """

    objects: int | None = None
    digits: tuple[int, ...] = tuple(range(10))
    same_digit: bool = False
    sides: tuple[int, int] = (20, 30)
    second_sides: tuple[int, int] | None = None
    contrast: tuple[float, float] = (64.0, 128.0)
    tint: float = 90.0
    distance: Distance = field(default_factory=Distance)


def check_scene_config(scene_config: SceneConfig) -> None:
    """Refuses a recipe that says nothing, or asks for what cannot be drawn."""
    if not isinstance(scene_config, SceneConfig):
        bad_type("make_scenes", "recipe", "to be a Recipe", type(scene_config).__name__)
    if scene_config.objects not in (None, 1, 2):
        bad_value("make_scenes", "recipe.objects", "to be 1, 2 or None", scene_config.objects)
    few = 1 if scene_config.same_digit or scene_config.objects == 1 else 2
    if len(set(scene_config.digits)) < max(few, len(scene_config.digits)) or not set(scene_config.digits) <= set(range(10)):
        bad_value("make_scenes", "recipe.digits", f"to be at least {few} different digits", scene_config.digits)
    for name, sides in (("sides", scene_config.sides), ("second_sides", scene_config.second_sides or scene_config.sides)):
        _check_pair(f"recipe.{name}", sides, 8, 30)
    _check_pair("recipe.contrast", scene_config.contrast, 1, 255)
    _check_pair("recipe.tint", (scene_config.tint, scene_config.tint), 0, 255)


def _check_pair(name: str, pair: Sequence[float], low: float, high: float) -> None:
    if not low <= pair[0] <= pair[1] <= high:
        bad_value("make_scenes", name, f"(lowest, highest) in [{low}, {high}]", tuple(pair))
