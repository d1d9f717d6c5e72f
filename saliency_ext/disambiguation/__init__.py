"""Disambiguation of pairs of labels: does a model base them on distinct entities of an image, or on a shared one?

`PairFinder` searches sets of segments whose redaction proves either, for all pairs of the top labels; a `Proof` records the sets
and the remaining scores; `verify` checks a proof on the model in at most two forward passes, without segmenter or attribution.
"""

from .finder import PairFinder
from .pair import PairResult
from .proof import Evidence, Proof
from .proof_file import proof_json, read_proof, write_proof
from .rules import Rules, preset_rules
from .segment_anything import SegmentAnything
from .segments import Partition, mask_partition, partition
from .verify import Verification, verify

__all__ = [
    "Evidence",
    "PairFinder",
    "PairResult",
    "Partition",
    "Proof",
    "Rules",
    "SegmentAnything",
    "Verification",
    "mask_partition",
    "partition",
    "preset_rules",
    "proof_json",
    "read_proof",
    "verify",
    "write_proof",
]
