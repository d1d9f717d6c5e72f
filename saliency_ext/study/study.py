"""`Study`: methods x metrics x samples, in chunks that are persisted: a run can be interrupted, resumed and distributed."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from .._atomic_io import pyarrow
from ..checks import bad_type, bad_value, require_integer
from ..evaluation._engine import engine_for
from ..evaluation.results import Results
from ..metrics.base import MetricLike
from ..models.targets import Target, plain_target
from ..perturbation import Engine
from ..protocols import Forward
from ._distributed import SETUP, ChunkClaims, rank_and_world
from ._fingerprint import begin_or_join
from ._preparation import prepare
from ._store import CLAIMS, StudyStore
from ._worker import Progress, Worker
from .reader import read_results
from .stopping import StopRule

_STUDY = "Study"
_DETERMINES_VALUES = {"determines values": True}  # such an option is part of the fingerprint of a run


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Resumable evaluation of methods under metrics on a data set, persisted to disk.

    Each chunk of samples is read, explained by every method, scored under every metric with deduplicated perturbed inputs (as
    `evaluate` does) and written as one Parquet file. At the end all are merged into one file, results.parquet, in long format.
    Controls take part as ordinary methods of family "control".

    Args:
        model, maps, metrics, truth, channels, resample, sample_ids: as for `evaluate`. Sample ids are distinct. Without `truth`
            the samples' own is used, if they have one.
        inputs: see `Samples`: a tensor (N, C, H, W), or anything with a length and items by number, such as a dataset.
        target: (N,) class indices, one class, "predicted" (on the clean image), or "given" (the labels of the data).
        out: the folder; one run per folder.
        engine: as for `evaluate`; an engine made of options runs on the device of the model unless they name one.
        chunk: samples handled together: what is lost at most when a process dies, and what processes share out. None: as many
            as the engine forwards; with a stop rule at most 16, as the rule is checked after each chunk.
        seed: of the controls, and with a stop rule of the order of the samples.
        controls: whether "random", "centre", "edge", "grey_level" and "NAME_random_weights" take part.
        random_weights: names of methods given as classes that are also run on a model with random weights; None: the first.
        stop: a `StopRule`, if the study may end before all samples are evaluated. None: it does not.
        names: N names of the samples, for reports; None: those of the samples.
        class_names: of the classes, for reports.
        identity: a text that stands for the content of the data. None: every sample is read once more before the start, and
            digested; then also a sample that reads differently the second time is refused.
        max_unreadable: share of samples that cannot be read, in [0, 1], above which the study stops, from 20 samples on.
        rank, world: number of this process, and of all. None: as torch.distributed says where it is initialised, else 0 of 1.
        progress: called with (samples finished, samples, forwards of this process, seconds) after each forward and chunk.

    Raises:
        TypeError, ValueError: what is wrong with which argument. ModuleNotFoundError: pyarrow is missing.

    Note:
        Deterministic: the bytes of results.parquet are the same for one process and for several, and for a run that was killed
        and resumed and one that was not. This needs a deterministic model, and one number of threads in all processes. Memory
        that runs out halves the batch in that process, and last bits may follow; so they may with another `chunk`, for methods
        that forward as many images as they get. Memory: one chunk, and in the end the results.
        Several processes run the same script on one folder (under torchrun, or started by hand, also later). They share chunks
        by file locks, and none waits for a message of another: an empty rank, or one that is killed, holds nobody up. No process
        group is needed: rank and world only say where a process begins.
        With a stop rule the samples come in random order, and so do the rows of the results; `read_table` has their ids. Chunks
        that were finished behind the last one needed are left out.
        A sample that cannot be read has the status "unreadable_sample" and the reason in the column message.

    Example:
        >>> import tempfile, torch
        >>> from saliency_ext.attribution import Gradient
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = Study(model, torch.rand(4, 3, 4, 4), "predicted", [Gradient], [Deletion(Constant(0.0))], out=folder)
        ...     results = study.run()
        >>> len(results["gradient", "deletion"].values), [method for method, _ in results]
        (4, ['gradient', 'random', 'centre', 'edge', 'grey_level', 'gradient_random_weights'])
    """

    model: Forward
    inputs: Any
    target: Target
    maps: Any
    metrics: Sequence[MetricLike]
    _: KW_ONLY
    out: str | Path
    engine: Engine | Mapping[str, Any] | None = None
    truth: Tensor | None = None
    channels: str | None = field(default=None, metadata=_DETERMINES_VALUES)
    resample: str | None = field(default=None, metadata=_DETERMINES_VALUES)
    chunk: int | None = None
    sample_ids: Tensor | None = None
    seed: int = field(default=0, metadata=_DETERMINES_VALUES)
    controls: bool = True
    random_weights: Sequence[str] | None = None
    stop: StopRule | None = field(default=None, metadata=_DETERMINES_VALUES)
    names: Sequence[str] | None = None
    class_names: Sequence[str] | None = None
    identity: str | None = None
    max_unreadable: float = 0.5
    rank: int | None = None
    world: int | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        pyarrow()
        plain_target(self.target)
        require_integer(_STUDY, "seed", self.seed, 0, 2**63 - 1)
        if self.chunk is not None:
            require_integer(_STUDY, "chunk", self.chunk, 1, 2**31 - 1)
        engine_for(_STUDY, self.model, self.engine)
        progress = self.engine.progress if isinstance(self.engine, Engine) else (self.engine or {}).get("progress")
        if progress is not None:
            bad_value(_STUDY, "engine", "without 'progress'", "one", "pass progress to the study")
        if self.stop is not None and not isinstance(self.stop, StopRule):
            bad_type(_STUDY, "stop", "to be a StopRule", type(self.stop).__name__)
        if not 0 <= self.max_unreadable <= 1:
            bad_value(_STUDY, "max_unreadable", "in [0, 1]", self.max_unreadable)
        if (self.rank is None) != (self.world is None):
            bad_value(_STUDY, "rank and world", "both, or neither", f"{self.rank} and {self.world}")
        if self.rank is not None and self.world is not None:
            require_integer(_STUDY, "world", self.world, 1, 2**31 - 1)
            require_integer(_STUDY, "rank", self.rank, 0, self.world - 1)

    def run(self, *, force_new_run: bool = False) -> Results:
        """Evaluates what is not finished yet, waits for what others work on, and returns all results.

        Args:
            force_new_run: where the folder holds another run, drop that one first (the files of a study, nothing else).

        Raises:
            TypeError, ValueError: what is wrong with which argument; the folder holds another run (what differs is named); more
                than max_unreadable of the samples cannot be read. KeyboardInterrupt, OSError (full disk): how to go on.
        """
        return self._work(force_new_run)

    def resume(self) -> Results:
        """As `run`, where the folder holds a run that was begun.

        Raises:
            ValueError: there is nothing to resume; otherwise as `run`.
        """
        store = StudyStore(Path(self.out))
        if store.read_run() is None:
            bad_value("Study.resume", "out", "a folder with a run", f"{str(store.folder)!r} without", "start one with run()")
        return self._work(False)

    def results(self) -> Results:
        """The results in the folder.

        Raises:
            ValueError: the run is not finished.
        """
        return read_results(self.out)

    def _work(self, force_new_run: bool) -> Results:
        job, record = prepare(self, self._determining_options())
        rank, world = rank_and_world() if self.rank is None or self.world is None else (self.rank, self.world)
        store = StudyStore(Path(self.out))
        store.prepare()
        with ChunkClaims(store.folder / CLAIMS) as claims:
            with claims.claim(SETUP, wait=True):
                job.run = begin_or_join(
                    _STUDY,
                    store.folder,
                    record,
                    has_files_of=store.has_files_of,
                    drop=store.remove_run if force_new_run else None,
                    remedy="give another folder, or what it was, or drop what is there with run(force_new_run=True)",
                )["run"]
            worker = Worker(job, store, claims, rank, world, self.progress)
            job.engine.progress = lambda *_: worker.report()
            try:
                worker.work()
            finally:
                job.engine.progress = None  # the engine may be the caller's
            store.check_owner(job.run)
            return read_results(self.out)

    def _determining_options(self) -> dict[str, Any]:
        """The options that the values depend on, by name."""
        return {option.name: getattr(self, option.name) for option in fields(self) if option.metadata}
