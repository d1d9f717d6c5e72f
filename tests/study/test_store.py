"""Files of a study: complete or not there, the same bytes for the same results, and nothing believed that is read."""

import os

import pyarrow
import pyarrow.parquet
import pytest
import torch

from saliency_ext import _atomic_io
from saliency_ext.evaluation.evaluate import evaluate
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.study import _store
from saliency_ext.study._parquet_schema import Identity, schema, table_of
from saliency_ext.study._store import StudyStore
from saliency_ext.study.reader import read_results, read_run, read_summary, read_table
from tests.helpers import tensors
from tests.study.studies import GREY, SmallNet, make_study, result_bytes

RUN = "0123456789abcdef"


def table(count=3, start=0, run=RUN, problems=None):
    """Rows of a fidelity of two maps."""
    images, maps = tensors(count, 3, 6, 5, seed=start), {"a": tensors(count, 6, 5), "b": tensors(count, 6, 5, seed=9)}
    results = evaluate(SmallNet(), images, 0, maps, [Fidelity(GREY, EqualFractions(3), references=1)], check_model=False)
    named = {pair: results[pair] for pair in results}
    about = Identity(list(range(start, start + count)), [""] * count, [0] * count, problems or [""] * count)
    return table_of(run, about, {"a": "given", "b": "given"}, named)


def filled(folder, counts, run=RUN, skip=()):
    """A store with one shard for each count of samples."""
    made, start = StudyStore(folder), 0
    made.prepare()
    for chunk, count in enumerate(counts):
        if chunk not in skip:
            made.write_shard(chunk, table(7, run=run).slice(2 * start, 2 * count), {"rank": 0, "process": 1}, run)
        start += count
    return made


def test_columns_are_as_promised(tmp_path):
    make_study(tmp_path, sample_ids=torch.arange(100, 111)).run()
    result = read_table(tmp_path)
    assert (
        result.schema.names == schema(RUN).names
        and result.schema.metadata[b"saliency_ext.run"].decode() == read_run(tmp_path)["run"]
    )
    rows = result.to_pylist()
    assert [row["sample"] for row in rows[::14]] == list(range(100, 111)) and len(rows) == 11 * 14
    for row in rows:
        curves, extras = dict(row["curves"]), dict(row["extras"])
        if row["metric"] == "fidelity":
            assert curves.keys() == {"mif", "lif", "artifact", "random"} and extras["auc_lif"] - extras["auc_mif"] == row["value"]
        assert row["fractions"] == [0.0, 1 / 3, 2 / 3, 1.0] and all(len(curve) == 4 for curve in curves.values())
        assert row["run"] == read_run(tmp_path)["run"] and row["status"] == "ok" and row["message"] == ""


def test_a_file_is_complete_or_not_there(tmp_path):
    path = tmp_path / "file"

    def breaks(file):
        file.write(b"half")
        file.flush()
        assert [item.name[:5] + item.suffix for item in tmp_path.iterdir() if item != path] == ["file..tmp"]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        _atomic_io.write_atomically(path, breaks)
    assert not list(tmp_path.iterdir())
    _atomic_io.write_atomically(path, lambda file: file.write(b"old"))
    with pytest.raises(OSError, match="No space left"):
        _atomic_io.write_atomically(path, breaks)
    assert path.read_bytes() == b"old"
    _atomic_io.write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new" and [item.name for item in tmp_path.iterdir()] == ["file"]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []

    def synced(descriptor):
        seen.append((os.fstat(descriptor).st_size if not seen else "folder", path.exists()))

    monkeypatch.setattr(_atomic_io.os, "fsync", synced)
    _atomic_io.write_atomically(path, lambda file: file.write(b"12345"))
    assert seen == [(5, False), ("folder", True)]


def test_bytes_depend_on_the_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(_store, "_ROWS_PER_GROUP", 4)
    for name, counts in {"one": [7], "few": [3, 3, 1], "each": [1] * 7}.items():
        filled(tmp_path / name, counts).merge(len(counts), RUN, {})
    assert result_bytes(tmp_path / "one") == result_bytes(tmp_path / "few") == result_bytes(tmp_path / "each")
    assert read_table(tmp_path / "few").equals(table(7))
    groups = pyarrow.parquet.read_metadata(tmp_path / "few" / "results.parquet")
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [4, 4, 4, 2]
    filled(tmp_path / "other", [7], run="another").merge(1, "another", {})
    assert result_bytes(tmp_path / "other") != result_bytes(tmp_path / "one")


def test_every_nan_has_the_same_bits(tmp_path):
    odd = torch.tensor([-torch.nan, torch.nan, 1.0]).double()
    odd[0] = torch.tensor([0xFFF8000000000123 - 2**64]).view(torch.float64)[0]
    results = evaluate(SmallNet(), tensors(3, 3, 6, 5), 0, tensors(3, 6, 5), [Fidelity(GREY)], check_model=False)
    result = results["map", "fidelity"]
    result.values.copy_(odd)
    about = Identity([0, 1, 2], [""] * 3, [0] * 3, [""] * 3)
    values = table_of(RUN, about, {"map": "given"}, {("map", "fidelity"): result})["value"].combine_chunks()
    bits = torch.tensor(values.to_numpy()).view(torch.int64)
    assert bits[0] == bits[1] and odd.view(torch.int64)[0] != odd.view(torch.int64)[1]


def test_shards_of_another_run_or_none_count_as_missing(tmp_path):
    made = filled(tmp_path, [2, 2, 2], skip=(1,))
    fresh = StudyStore(tmp_path)
    assert [fresh.is_finished(chunk, RUN) for chunk in range(3)] == [True, False, True]
    whole = fresh.shard(2).read_bytes()
    columns = pyarrow.table({"value": [1.0]})
    for content in (b"", b"PAR1", whole[:-1], whole[:200], b"PAR1" + b"\xff" * 64 + b"PAR1", b"\x80\x04cposix\nsystem\n."):
        made.shard(2).write_bytes(content)
        fresh = StudyStore(tmp_path)
        with pytest.warns(RuntimeWarning, match=r"000002.parquet is no shard of this run, or damaged, .* again"):
            assert not fresh.is_finished(2, RUN)
        assert not fresh.is_finished(2, RUN)  # said once
    pyarrow.parquet.write_table(columns, made.shard(2))
    with pytest.warns(RuntimeWarning, match="no shard of this run"):
        assert not StudyStore(tmp_path).is_finished(2, RUN)
    with pytest.warns(RuntimeWarning, match="no shard of this run"):
        assert not StudyStore(tmp_path).is_finished(0, "another")


def test_a_damaged_shard_is_made_again(tmp_path):
    study = make_study(tmp_path)
    study.run()
    whole = result_bytes(tmp_path)
    (tmp_path / "results.parquet").write_bytes(whole[:100])
    (tmp_path / "shards" / "000003.parquet").write_bytes(b"garbage")
    model = SmallNet()
    with pytest.warns(RuntimeWarning, match="000003.parquet is no shard") as said:
        make_study(tmp_path, model).run()
    assert any("results.parquet is not of this run, or damaged" in str(each.message) for each in said)
    assert result_bytes(tmp_path) == whole and 0 < model.calls < 30


def test_half_written_files_are_removed_and_other_files_are_left(tmp_path):
    out = tmp_path / "out"
    make_study(out).run()
    whole = result_bytes(out)
    (out / "results.parquet").unlink()
    ours = ["run.json.ab12.tmp", "results.parquet.cd.tmp", "shards/000001.parquet.ef.tmp", "shards/000007.json.aa.tmp"]
    others = ["notes.txt", "draft.tmp", "shards/mine.tmp", "shards/mine.json"]
    for name in ours + others:
        (out / name).write_text("x")
    make_study(out).resume()
    assert result_bytes(out) == whole
    assert not [name for name in ours if (out / name).exists()] and all((out / name).exists() for name in others)
    make_study(out, seed=1).run(force_new_run=True)
    assert all((out / name).exists() for name in others) and result_bytes(out) != whole


def test_a_run_json_that_is_none_is_refused(tmp_path, monkeypatch):
    expected = (
        r"Study: expected out with run.json as a study writes it, got .*run.json, .*; it is not as a study left it: remove it"
    )
    for content in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"a": ' * 50_000):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(ValueError, match=expected):
            make_study(tmp_path).run()
    _atomic_io.write_record(tmp_path / "run.json", {"a": "x" * 100})
    monkeypatch.setattr(_atomic_io, "_LARGEST_JSON", 50)
    with pytest.raises(ValueError, match=expected):
        make_study(tmp_path).run()


def test_results_are_read_without_model_or_data(tmp_path):
    results = make_study(tmp_path).run()
    for result in (read_results(tmp_path), make_study(tmp_path).results()):
        assert list(result) == list(results) and str(result) == str(results)
        assert all(torch.equal(result[pair].values, results[pair].values) for pair in results)
    assert result.counters.forwards == read_summary(tmp_path)["counters"]["forwards"] > 0
    assert str(results.compare("gradient", "random", "fidelity"))


def test_unfinished_studies_are_refused_by_the_readers(tmp_path):
    with pytest.raises(
        ValueError, match=r"read_table: expected folder of a finished study, got '.*'; finish it with Study.resume"
    ):
        read_table(tmp_path)
    with pytest.raises(ValueError, match=r"read_run: expected folder of a study, got '.*'; start one with Study.run"):
        read_results(tmp_path)
    with pytest.raises(ValueError, match="read_summary: expected folder of a finished study"):
        read_summary(tmp_path)
    with pytest.raises(
        ValueError, match=r"Study.resume: expected out a folder with a run, got '.*' without; start one with run\(\)"
    ):
        make_study(tmp_path / "none").resume()
    assert not (tmp_path / "none").exists()
