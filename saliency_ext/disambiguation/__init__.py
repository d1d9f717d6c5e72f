"""One entity or two? For two labels of a model: are they driven by two things in the picture, or are they names of one?

`PairFinder` searches sets of segments whose redaction tells, for all pairs of the top labels at once; a `Proof` holds what it
found; `verify` checks a proof on the model in at most two forward passes, without segmenter or attribution.
"""

from .finder import PairFinder
from .pair import PairResult
from .proof import Evidence, Proof
from .proof_file import proof_json, read_proof, write_proof
from .rules import Rules, preset
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
    "preset",
    "proof_json",
    "read_proof",
    "verify",
    "write_proof",
]
