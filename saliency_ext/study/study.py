"""`Study`: methods x metrics x samples, in chunks that are kept, so that it can be stopped, resumed and shared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .._atomic_io import pyarrow
from ..checks import bad_value
from ..evaluation.results import Results
from ..models.targets import Target, plain_target
from ..protocols import Forward
from ._config import StudyConfig
from ._distributed import SETUP, ChunkClaims, rank_and_world
from ._fingerprint import begin_or_join
from ._store import CLAIMS, StudyStore
from ._worker import Progress, Worker
from .reader import read_results
from .stopping import StopRule


class Study:
    """Scores methods under metrics on a data set, in a folder: what is finished is kept, whatever happens.

    Each chunk of samples is read, explained by every method, scored under every metric in one deduplicated pass over the model
    (as `evaluate` does) and written as one Parquet file. In the end all are one file, results.parquet, in long format. Controls
    take part as ordinary methods of family "control".

    Args:
        model: callable (B, C, H, W) -> logits (B, K); an nn.Module is run in eval mode and restored.
        data: see `Samples`: a tensor (N, C, H, W), or anything with a length and items by number.
        methods: name -> method, or a sequence of methods. A method is what `evaluate` takes as a map, or a class of
            `attribution` or a functools.partial of one, which is called with the model.
        metrics: a sequence, as for `evaluate`.
        out: the folder; one run per folder.
        target: (N,) class indices, one class, "predicted" (on the clean image), or "given" (the labels of the data).
        truth: (N, H, W) bool, for metrics that compare with it; None: that of the samples, if they have one.
        seed: of the controls, and with a stop rule of the order of the samples.
        engine: options of `Engine`, such as {"memory_budget": 2**30}. Its device is that of the model if not given.
        chunk: samples handled together: what is lost at most when a process dies, and what processes share out. None: as many
            as the engine forwards; with a stop rule at most 16, after each of which it looks.
        sample_ids: (N,) int64, distinct, which key ties and random draws; 0 .. N-1 if not given.
        names: N names of the samples, for reports; None: those of the samples.
        class_names: of the classes, for reports.
        identity: a text that stands for the content of the data. None: every sample is read once more before the start, and
            digested; then also a sample that reads differently the second time is refused.
        controls: whether "random", "centre", "edge", "grey_level" and "NAME_random_weights" take part.
        random_weights: names of methods given as classes that are also asked on a model with random weights; None: the first.
        channels, resample: how maps are read, as for `evaluate`.
        stop: a `StopRule`, if the study may end before all samples are evaluated. None: it does not.
        max_unreadable: share of samples that cannot be read, in [0, 1], above which the study stops, once it looked at 20.
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
        ...     study = Study(model, torch.rand(4, 3, 4, 4), [Gradient], [Deletion(Constant(0.0))], out=folder)
        ...     results = study.run()
        >>> len(results["gradient", "deletion"].values), [method for method, _ in results]
        (4, ['gradient', 'random', 'centre', 'edge', 'grey_level', 'gradient_random_weights'])
    """

    def __init__(
        self,
        model: Forward,
        data: Any,
        methods: Mapping[str, Any] | Sequence[Any],
        metrics: Sequence[Any],
        *,
        out: str | Path,
        target: Target = "predicted",
        truth: Tensor | None = None,
        seed: int = 0,
        engine: Mapping[str, Any] | None = None,
        chunk: int | None = None,
        sample_ids: Tensor | None = None,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        identity: str | None = None,
        controls: bool = True,
        random_weights: Sequence[str] | None = None,
        channels: str | None = None,
        resample: str | None = None,
        max_unreadable: float = 0.5,
        stop: StopRule | None = None,
        rank: int | None = None,
        world: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        pyarrow()
        self._choices = StudyConfig(
            model=model,
            data=data,
            methods=methods,
            metrics=metrics,
            out=Path(out),
            target=plain_target(target),
            truth=truth,
            seed=seed,
            engine=engine,
            chunk=chunk,
            sample_ids=sample_ids,
            names=names,
            class_names=class_names,
            identity=identity,
            controls=controls,
            random_weights=random_weights,
            channels=channels,
            resample=resample,
            max_unreadable=max_unreadable,
            stop=stop,
            rank=rank,
            world=world,
            progress=progress,
        )

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
        store = StudyStore(self._choices.out)
        if store.read_run() is None:
            bad_value("Study.resume", "out", "a folder with a run", f"{str(store.folder)!r} without", "start one with run()")
        return self._work(False)

    def results(self) -> Results:
        """The results in the folder.

        Raises:
            ValueError: the run is not finished.
        """
        return read_results(self._choices.out)

    def _work(self, force_new_run: bool) -> Results:
        choices = self._choices
        job, record = choices.prepared()
        rank, world = rank_and_world() if choices.rank is None or choices.world is None else (choices.rank, choices.world)
        store = StudyStore(choices.out)
        store.prepare()
        with ChunkClaims(store.folder / CLAIMS) as claims:
            with claims.claim(SETUP, wait=True):
                job.run = begin_or_join(
                    "Study",
                    store.folder,
                    record,
                    has_files_of=store.has_files_of,
                    drop=store.remove_run if force_new_run else None,
                    remedy="give another folder, or what it was, or drop what is there with run(force_new_run=True)",
                )["run"]
            worker = Worker(job, store, claims, rank, world, choices.progress)
            job.engine.progress = lambda *_: worker.report()
            worker.work()
            store.check_owner(job.run)
            return read_results(choices.out)
