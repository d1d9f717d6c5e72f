"""The plan: which masked inputs are asked, each once.

Metrics ask; the plan removes duplicates. The savings are exact: removing the k least relevant pixels and inserting the n - k
most relevant ones is the same keep-mask; the clean image and the pure infill are one masked input each, whatever the metric, map
or direction.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from ..protocols import Infill
from .masks import ALL_KEPT, NONE_KEPT, Masks

Key = Hashable


@dataclass(frozen=True)
class PlannedBatch:
    """Unique masked inputs that one call of the renderer can make: steps of one family with one infill and draw."""

    masks: Masks
    infill: Infill
    draw: int
    steps: tuple[int, ...]
    keys: tuple[Key, ...]


@dataclass
class Plan:
    """Collects masked inputs. `requested` counts what was requested, `len(plan)` what is left after removing duplicates."""

    requested: int = 0
    _probes: dict[Key, tuple[Masks, int, Infill, int]] = field(default_factory=dict)

    def request(self, masks: Masks, infill: Infill) -> list[list[Key]]:
        """Asks for every step of a mask family under every draw of an infill.

        Returns:
            For each draw, the keys of the steps: with them the answers are looked up.
        """
        return [self._request_draw(masks, infill, draw) for draw in range(infill.draws)]

    def _request_draw(self, masks: Masks, infill: Infill, draw: int) -> list[Key]:
        keys: list[Key] = []
        infill_key = infill.key  # once: it is made of all parameters
        for step, mask_key in enumerate(masks.keys):
            key = _canonical(mask_key, infill_key, draw)
            self.requested += 1
            self._probes.setdefault(key, (masks, step, infill, draw))
            keys.append(key)
        return keys

    def __len__(self) -> int:
        return len(self._probes)

    def unique(self) -> Sequence[Key]:
        """The unique masked inputs, in the order of their first request."""
        return list(self._probes)

    def batches(self, without: set[Key]) -> Iterator[PlannedBatch]:
        """The masked inputs that are not known yet, grouped by family, infill and draw."""
        groups: dict[tuple[int, int, int], list[tuple[Key, int]]] = {}
        members: dict[tuple[int, int, int], tuple[Masks, Infill]] = {}
        for key, (masks, step, infill, draw) in self._probes.items():
            if key in without:
                continue
            group = (id(masks), id(infill), draw)
            groups.setdefault(group, []).append((key, step))
            members[group] = (masks, infill)
        for group, steps in groups.items():
            masks, infill = members[group]
            yield PlannedBatch(masks, infill, group[2], tuple(step for _, step in steps), tuple(key for key, _ in steps))


def _canonical(mask_key: Hashable, infill_key: Hashable, draw: int) -> Key:
    """One key per distinct masked input: the clean image needs no infill, the pure infill no mask."""
    if mask_key == ALL_KEPT:
        return ALL_KEPT
    return (NONE_KEPT if mask_key == NONE_KEPT else mask_key, infill_key, draw)
