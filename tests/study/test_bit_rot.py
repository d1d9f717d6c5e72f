"""What changed on the disk since it was written is named, and evaluated again or refused: it never becomes another number."""

import json
import shutil

import pyarrow.parquet
import pytest

from bench.studies import bit_flips
from saliency_ext.study.reader import read_results, read_run, read_summary, read_table
from tests.study.studies import PROBED, SmallNet, make_study, result_bytes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    make_study(out).run()
    return out


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


@pytest.mark.parametrize("name", bit_flips.RUNS)
def test_no_flipped_bit_is_silent(name):
    run, last = bit_flips.RUNS[name]
    result = bit_flips.flipped(run, last, 30, seed=1)
    assert not any(result[each] for each in bit_flips.WRONG) and result["mended"] > 10, result


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["shards/000001.parquet", "shards/000001.json"])
def test_a_damaged_chunk_alone_is_evaluated_again(copy, whole, name):
    (copy / "results.parquet").unlink()
    flip(copy / name, 60)
    model = SmallNet()
    with pytest.warns(RuntimeWarning, match="000001.parquet is no shard of this run, or damaged, or its note is"):
        make_study(copy, model).resume()
    assert result_bytes(copy) == result_bytes(whole) and (copy / name).exists()
    assert PROBED < model.calls < 20, "one chunk of six"


@pytest.mark.parametrize("name", ["results.parquet", "summary.json"])
def test_damaged_results_are_refused_by_readers_and_made_again(copy, whole, name):
    flip(copy / name, 60)
    with pytest.raises(ValueError, match=f"expected .*{name}"):
        read_results(copy)
    model = SmallNet()
    with pytest.warns(RuntimeWarning, match="results.parquet is not of this run, or damaged, or summary.json is"):
        results = make_study(copy, model).resume()
    assert result_bytes(copy) == result_bytes(whole) and model.calls == PROBED and str(results) == str(read_results(whole))


def test_a_shard_that_rots_while_others_are_evaluated_is_made_again(copy, whole):
    """It was looked at, and found sound, before."""
    for name in ("results.parquet", "shards/000005.parquet"):
        (copy / name).unlink()
    done = []

    def progress(finished, *_):
        if finished == 11 and not done:
            done.append(finished)
            flip(copy / "shards" / "000000.parquet", 60)

    with pytest.warns(RuntimeWarning, match="000000.parquet is no shard of this run"):
        make_study(copy, progress=progress).resume()
    assert done and result_bytes(copy) == result_bytes(whole)


def test_a_damaged_run_json_is_written_anew_for_its_own_run_alone(copy, whole):
    (copy / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"Study: expected out with run.json .*remove it, or give another folder"):
        make_study(copy, seed=3).run()
    with pytest.raises(ValueError, match="run.json"):
        read_run(copy)
    with pytest.warns(RuntimeWarning, match=r"Study: .*run.json was damaged; it is written anew"):
        make_study(copy).run()
    assert read_run(copy) == read_run(whole)
    (copy / "run.json").write_text("{")
    with pytest.warns(RuntimeWarning, match="was damaged"):
        make_study(copy, seed=3).run(force_new_run=True)
    assert read_run(copy)["run"] != read_run(whole)["run"] and result_bytes(copy) != result_bytes(whole)


@pytest.mark.parametrize("name", ["run.json", "summary.json", "shards/000000.json"])
def test_a_wrong_letter_in_any_key_is_an_error_of_the_file(copy, name):
    """Readers of other keys never see it."""
    for key in json.loads((copy / name).read_text()):
        text = (copy / name).read_text()
        (copy / name).write_text(text.replace(f'"{key}"', f'"{key}x"', 1))
        if name.startswith("shards"):
            with pytest.warns(RuntimeWarning, match="is no shard"):
                (copy / "results.parquet").unlink(missing_ok=True)
                make_study(copy).run()
        else:
            with pytest.raises(ValueError, match=name):
                read_results(copy)
        (copy / name).write_text(text)


def test_other_readers_find_checksums_of_pages(whole):
    rows = read_table(whole)
    path = whole / "results.parquet"
    with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        assert file.read().equals(rows)
        chunk = file.metadata.row_group(0).column(8)
    start, size = chunk.data_page_offset, chunk.total_compressed_size
    copied = bytearray(path.read_bytes())
    copied[start + size // 2] ^= 4
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pyarrow.parquet.ParquetFile(pyarrow.BufferReader(bytes(copied)), page_checksum_verification=True).read()


def test_one_study_that_takes_over_the_folder_of_another(tmp_path, whole):
    """The first refuses to go on, instead of returning rows of both; the second is what it would be alone."""
    out, alone = tmp_path / "out", tmp_path / "alone"
    taken = []

    def progress(finished, *_):
        if finished == 4 and not taken:
            taken.append(make_study(out, seed=7, stop=None).run(force_new_run=True))

    with pytest.raises(RuntimeError, match=r"Study: expected .* to hold this run .* got another run: .* with force_new_run"):
        make_study(out, progress=progress).run()
    make_study(alone, seed=7).run()
    assert result_bytes(out) == result_bytes(alone)


def test_a_shard_of_another_run_is_never_merged(copy, whole, tmp_path):
    """Written over one that was already found sound: by a process of a run that was dropped, say."""
    other = tmp_path / "other"
    make_study(other, seed=7).run()
    for name in ("results.parquet", "shards/000005.parquet"):
        (copy / name).unlink()

    def progress(finished, *_):
        if finished == 11:
            for ending in ("json", "parquet"):
                place = f"shards/000000.{ending}"
                if (copy / place).exists() and not (copy / "done").exists():
                    shutil.copy(other / place, copy / place)
            (copy / "done").touch()

    with pytest.warns(RuntimeWarning, match="000000.parquet is no shard of this run"):
        make_study(copy, progress=progress).resume()
    assert result_bytes(copy) == result_bytes(whole)
    assert read_summary(copy)["run"] == read_run(whole)["run"]
    shutil.copy(other / "summary.json", copy / "summary.json")
    shutil.copy(other / "results.parquet", copy / "results.parquet")
    with pytest.raises(ValueError, match="read_results: expected folder with one run, got run.json of"):
        read_results(copy)
