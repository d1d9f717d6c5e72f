"""Insertion: how fast the score rises when the most relevant pixels come."""

from dataclasses import dataclass
from typing import ClassVar

from ..protocols import MetricInfo
from .perturbation_curve import LeastRelevantFirst


@dataclass(frozen=True)
class Insertion(LeastRelevantFirst):
    """Area under the score while the most relevant pixels are put into the pure infill [Petsiuk 2018, Sec. 3.3].

    AUC = trapezoid over the true fraction t of f(infill with the t n most relevant pixels of the image). Higher is better.
    Unit: that of the score. With the infill of `LeRF` it is that curve read backwards, so the two share all perturbed inputs.

    Traps: the first pixels stand alone on the infill, which is no image the model knows: an infill that already looks like the
    class lifts every map. Scattered pixels on a blur can be read early, so blurs flatter scattered maps.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="insertion",
        direction="higher",
        unit="area under the score over [0, 1]",
        measures="sufficiency of what is ranked first",
        reference="Petsiuk 2018",
        role="order",
        range=(0.0, 1.0),
        meaning="The most relevant pixels are put first into an image without content. The sooner the score rises, the larger "
        "the area.",
        horizontal="share of pixels inserted",
        conformance="insertion",
        default=3,
    )

    from_the_infill: ClassVar[bool] = True
