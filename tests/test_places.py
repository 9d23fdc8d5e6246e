"""Places of results: one reading of paths and addresses, and mirrors that hold what an address holds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from rbc_marl import UserError, places
from rbc_marl.errors import ConfigError
from rbc_marl.places import INDEX, local_path, look, named, names, opened, place_of, pull, pull_heads, push


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STUDY", "taxes")
    return tmp_path / "home"


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder in the place of a bucket: what stands behind an address, by pyarrow."""
    fs = pytest.importorskip("pyarrow.fs")
    folder = tmp_path / "storage"
    folder.mkdir()

    def remote(path):
        found = places._address(path)
        return None if found is None else (fs.LocalFileSystem(), f"{folder.as_posix()}/{found[1]}".removesuffix("/."))

    monkeypatch.setattr(places, "_remote", remote)
    monkeypatch.setattr(places, "_stored", {})
    return folder


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("results", "results"),
        ("~/results", "{home}/results"),
        ("$HOME/results", "{home}/results"),
        ("${HOME}/$STUDY", "{home}/taxes"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("s3://bucket/x", "s3://bucket/x"),
        (Path("s3://bucket/x"), "s3://bucket/x"),
        ("abfs://box@account.dfs.core.windows.net/x", "abfs://box@account.dfs.core.windows.net/x"),
        (r"C:\results", r"C:\results"),
    ],
)
def test_paths_and_addresses_are_read_alike_at_every_door(home, text, place):
    assert place_of(text) == place.replace("{home}", str(home))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory://x", r"--out is 'memory://x'; it must be a path, or begin with file://, s3://"),
        ("s4://x/y", r'did you mean "s3"\?'),
        ("s3:/x/y", "after the colon an address has two slashes: s3://"),
        ("s3:///y", "it names no bucket: s3://bucket/folder"),
        ("s3://key:secret@bucket/x", "--out holds a key, which results would keep"),
        ("s3://bucket/../x", "leave out the dots"),
        ("file://host/x", "it must be a file of this machine"),
        ("$NOWHERE/x", r"this machine does not know '\$NOWHERE'"),
        ("~nobody-of-this-name/x", "this machine does not know '~nobody-of-this-name'"),
    ],
)
def test_what_is_no_place_is_refused_in_one_line(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        local_path(text)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_mirror_says_its_address(tmp_path):
    path = local_path("s3://bucket/x/y?region=eu")
    assert tmp_path / "cache" in path.parents and path.parent.is_dir()
    assert named(path / "economy.png") == "s3://bucket/x/y/economy.png?region=eu"
    assert named(local_path("gs://bucket")) == "gs://bucket"
    assert named(Path("results")) == "results" and not places.is_remote(tmp_path)
    push(tmp_path / "nothing")  # of any other folder nothing happens
    pull(tmp_path / "nothing")


def write(folder, **files):
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_csv", ".csv")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def held(folder):
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text("utf-8") for file in files if file.name != INDEX}


def test_what_is_new_goes_to_the_address_and_what_is_gone_goes_there_too(bucket):
    run = local_path("s3://bucket/x/run")
    write(run, progress_csv="1", checkpoint_1__a="a")
    write(run, **{".lock": "", "half__.b.tmp": ""})
    push(run)
    assert held(bucket) == {"x/run/progress.csv": "1", "x/run/checkpoint_1/a": "a"}
    (bucket / "x/run/checkpoint_1/a").write_text("kept", encoding="utf-8")  # what has not changed is not sent again
    write(run, progress_csv="1\n2", checkpoint_2__a="b")
    push(run)
    assert held(bucket / "x/run")["checkpoint_1/a"] == "kept" and held(bucket / "x/run")["checkpoint_2/a"] == "b"
    (run / "checkpoint_1" / "a").unlink()
    push(run)
    assert held(bucket / "x/run") == {"progress.csv": "1\n2", "checkpoint_2/a": "b"}


def test_half_of_a_checkpoint_at_the_address_counts_for_nothing(bucket, monkeypatch):
    run = local_path("s3://bucket/run")
    write(run, progress_csv="1", checkpoint_1__a="a")
    push(run)
    write(bucket / "run", checkpoint_2__a="half")  # its sender was killed
    write(run, checkpoint_3__a="never sent")
    monkeypatch.setattr(places, "_stored", {})
    pull(run)
    assert held(run) == {"progress.csv": "1", "checkpoint_1/a": "a"} and not (run / "checkpoint_3").exists()


def test_folders_that_go_on_their_own_are_left_alone(bucket):
    sweep = local_path("s3://bucket/sweep")
    write(sweep, table_csv="1", runs__a="a", rows__a="r")
    push(sweep, ("runs", "rows"))
    assert held(bucket / "sweep") == {"table.csv": "1"}
    pull(sweep, ("runs", "rows"))
    assert held(sweep) == {"table.csv": "1", "runs/a": "a", "rows/a": "r"}
    push(sweep / "rows" / "a")
    (sweep / "rows" / "a").unlink()
    pull(sweep / "rows")
    assert held(sweep / "rows") == {"a": "r"}


def test_some_files_of_each_run_tell_which_to_bring(bucket):
    write(bucket, one__config_csv="1", one__weights="w", two__weights="w")
    pull_heads(local_path("s3://bucket"), ["config.csv"])
    assert held(local_path("s3://bucket")) == {"one/config.csv": "1"}


def test_a_file_at_an_address_is_looked_at_with_its_age_and_stays_as_it_is(bucket):
    record = local_path("s3://bucket/run/.lock.json")
    assert look(record) is None and names(record.parent, ".lock") == []
    write(bucket / "run", **{".lock.json": "held", ".lock.claim": "wanted", "progress_csv": "1"})
    os.utime(bucket / "run" / ".lock.json", (time.time() - 1000,) * 2)
    text, seconds = look(record)
    assert text == "held" and 999 < seconds < 2000 and not record.exists()
    assert names(record.parent, ".lock") == [".lock.claim", ".lock.json"]
    pull(record.parent)  # who holds a folder is nothing of it
    assert held(record.parent) == {"progress.csv": "1"}
    assert look(Path("results")) is None and names(Path("results"), "") == []


def test_what_somebody_names_is_brought_before_it_is_read(bucket):
    write(bucket, run__weights="w")
    assert held(opened(Path("s3://bucket/run"))) == {"weights": "w"}
    assert opened("results/run") == Path("results/run")


def test_an_address_that_cannot_be_reached_is_said_with_where_everything_is(bucket):
    run = local_path("s3://bucket/run")
    write(run, a="1")
    (bucket / "run").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(UserError, match=r"s3://bucket/run cannot be written \(.*\); check bucket and keys") as caught:
        push(run)
    assert str(caught.value).endswith(f"; what there is lies in {run}") and "\n" not in str(caught.value)


def test_the_index_is_written_last(bucket):
    run = local_path("s3://bucket/run")
    write(run, a="1", b="22")
    push(run)
    assert json.loads((bucket / "run" / INDEX).read_text("utf-8")) == {"a": 1, "b": 2}
