"""Preparing tf_flowers offline gives the same data set as TFDS: keys, order and folder."""

import contextlib
import functools
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums
from tensorflow_datasets.datasets.tf_flowers import tf_flowers_dataset_builder

from netzoo.cli import prepare as prepare_module
from netzoo.cli.prepare import main, prepare
from netzoo.data.files import ImageError
from netzoo.data.source import DatasetNotFoundError, SourceError
from netzoo.data.sources import tfds as tfds_source


def records(builder):
    """Labels and images in record order."""
    source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    return [(int(record["label"]), record["image"]) for record in source]


def write_tar(path, folder, mode="w:gz", reverse=False):
    with tarfile.open(path, mode) as tar:
        for file in sorted(folder.rglob("*"), reverse=reverse):
            tar.add(file, f"flower_photos/{file.relative_to(folder)}", recursive=False)
    return path


@pytest.fixture
def archive(flowers, tmp_path):
    """The photographs as flower_photos.tgz."""
    return write_tar(tmp_path / "whole.tgz", flowers)


@pytest.fixture
def server(archive, tmp_path, monkeypatch):
    """A local web server instead of the original; returns its empty folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/flower_photos.tgz"
        monkeypatch.setattr(tf_flowers_dataset_builder, "_URL", url)
        known = {url: checksums.compute_url_info(archive)}
        monkeypatch.setattr(tf_flowers_dataset_builder.Builder, "url_infos", known)
        yield folder
        running.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_failed_download_does_not_break_the_next(archive, server, tmp_path):
    """A missing and a damaged file are reported; the third attempt succeeds."""
    data_dir = str(tmp_path / "data")
    with pytest.raises(DatasetNotFoundError, match="404"):
        prepare("tf_flowers", None, data_dir)
    (server / "flower_photos.tgz").write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(DatasetNotFoundError, match="--from"):
        prepare("tf_flowers", None, data_dir)
    shutil.copy(archive, server / "flower_photos.tgz")
    assert len(records(prepare("tf_flowers", None, data_dir))) == 20


def test_order_is_the_downloaded_one_wherever_the_files_lie(flowers, archive, server, tmp_path):
    """Folder, archives and download give identical records."""
    shutil.copy(archive, server / "flower_photos.tgz")
    plain = write_tar(tmp_path / "other.tar", flowers, "w", reverse=True)
    zipped = tmp_path / "flowers.zip"
    with zipfile.ZipFile(zipped, "w") as zip_file:
        for file in flowers.rglob("*"):
            zip_file.write(file, f"somewhere/else/{file.relative_to(flowers)}")
    moved = flowers.rename(tmp_path / "moved")
    found = [
        records(prepare("tf_flowers", str(origin), str(tmp_path / f"data{number}")))
        for number, origin in enumerate([moved, archive, plain, zipped])
    ]

    downloaded = records(prepare("tf_flowers", None, str(tmp_path / "downloaded")))
    assert len(downloaded) == 20
    assert all(other == downloaded for other in found)


@pytest.mark.parametrize("origin", [None, "missing.tgz"])
def test_two_at_once(origin, flowers, server, tmp_path, monkeypatch):
    """Protects the first use by two processes: the second takes what the first one has prepared.

    The second process could not prepare the data itself: the server does not have the file, and the
    archive does not exist. The first one prepares while the second waits.
    """
    data_dir, wait = str(tmp_path / "data"), tfds_source.one_at_a_time

    @contextlib.contextmanager
    def waiting(path, work):
        monkeypatch.setattr(tfds_source, "one_at_a_time", wait)
        prepare("tf_flowers", str(flowers), data_dir)
        with wait(path, work) as killed:
            yield killed

    monkeypatch.setattr(tfds_source, "one_at_a_time", waiting)
    assert len(records(prepare("tf_flowers", origin, data_dir))) == 20


def test_remains_of_a_killed_preparation_go(flowers, tmp_path):
    """Protects the disk: the next preparation removes what a killed one of this version left.

    Remains are removed only if a killed process left its lock file; else another tool may work.
    """
    folder = tmp_path / "data" / "tf_flowers"
    for name in ("incomplete.AB12CD_3.0.1", "incomplete.AB12CD_9.0.0"):
        (folder / name).mkdir(parents=True)
    prepare("tf_flowers", str(flowers), str(tmp_path / "data"))
    assert (folder / "incomplete.AB12CD_3.0.1").exists()
    shutil.rmtree(folder / "3.0.1")
    (folder / ".3.0.1.lock").write_text("process 1 on elsewhere\n")
    prepare("tf_flowers", str(flowers), str(tmp_path / "data"))
    assert sorted(os.listdir(folder)) == ["3.0.1", "incomplete.AB12CD_9.0.0"]


def test_result_is_tf_flowers(flowers, tmp_path):
    """`tfds.builder` finds the data set, and no temporary files remain."""
    prepare("tf_flowers", str(flowers), str(tmp_path / "data"))
    builder = tfds.builder("tf_flowers", data_dir=tmp_path / "data", file_format="array_record")
    assert builder.info.full_name == "tf_flowers/3.0.1"
    assert builder.info.splits["train"].num_examples == 20
    assert os.listdir(tmp_path / "data") == ["tf_flowers"]
    assert os.listdir(tmp_path / "data" / "tf_flowers") == ["3.0.1"]


def test_command_reports_counts_and_warns_of_missing_files(flowers, tmp_path, capsys):
    """An incomplete copy is prepared with a warning."""
    arguments = ["tf_flowers", "--from", str(flowers), "--data-dir", str(tmp_path / "data")]
    main(arguments)
    output = capsys.readouterr()
    assert "train: 20 examples: dandelion 4, daisy 4, tulips 4, sunflowers 4, roses 4" in output.out
    assert "expected 3,670 photographs, found 20" in output.err
    main(arguments)  # a second time finds it ready


def failure(origin, tmp_path):
    with pytest.raises(SourceError) as caught:
        prepare("tf_flowers", str(origin), str(tmp_path / "data"))
    folder = tmp_path / "data" / "tf_flowers"
    assert not folder.exists() or not os.listdir(folder), "a half-done preparation was left behind"
    return str(caught.value)


def test_unusable_origins(flowers, archive, tmp_path):
    """Each invalid --from has its own error, and the next attempt works."""
    assert "does not exist" in failure(tmp_path / "missing.tgz", tmp_path)
    assert "neither a folder nor an archive" in failure(flowers / "LICENSE.txt", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no photographs" in failure(tmp_path / "empty", tmp_path)
    (tmp_path / "bad.tgz").write_bytes(b"<html>404</html>")
    assert "damaged or not an archive" in failure(tmp_path / "bad.tgz", tmp_path)
    half = tmp_path / "half.tgz"
    half.write_bytes(archive.read_bytes()[:-3000])
    assert "damaged or not an archive" in failure(half, tmp_path)
    (flowers / "violets").mkdir()
    (flowers / "violets" / "1.jpg").write_bytes(b"x")
    assert "expected photographs in folders named dandelion" in failure(flowers, tmp_path)
    (flowers / "violets" / "1.jpg").unlink()
    assert len(records(prepare("tf_flowers", str(flowers), str(tmp_path / "data")))) == 20


def test_archive_members_cannot_escape(flowers, tmp_path):
    """An archive with `../` or absolute members, or links, writes nothing outside."""
    evil = write_tar(tmp_path / "evil.tar", flowers, "w")
    with tarfile.open(evil, "a") as tar:
        for name in ("../escaped.txt", "/tmp/netzoo-escaped.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("flower_photos/roses/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    builder = prepare("tf_flowers", str(evil), str(tmp_path / "data" / "inner"))
    assert len(records(builder)) == 20
    assert not list(tmp_path.rglob("escaped.txt")) and not os.path.exists("/tmp/netzoo-escaped.txt")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_huge_claims_are_refused(flowers, tmp_path, kind):
    """The declared sizes of photographs and descriptions are limited."""
    bomb = write_tar(tmp_path / "bomb.tar", flowers, "w")
    with tarfile.open(bomb, "a") as tar:
        at = tar.offset
    member = tarfile.TarInfo("flower_photos/roses/huge.jpg")
    member.type, member.size = kind, 1 << 40
    with bomb.open("r+b") as file:
        file.seek(at)
        file.write(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    assert r"roses/huge.jpg claims to have 1,099,511,627,776 bytes" in failure(bomb, tmp_path)


def test_zip_bombs_are_refused(tmp_path, monkeypatch):
    """The unpacked size of a photograph in a zip archive is limited in advance."""
    monkeypatch.setattr(prepare_module, "MAX_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flower_photos/roses/huge.jpg", bytes(2 << 20))
    assert "claims to have 2,097,152 bytes" in failure(tmp_path / "bomb.zip", tmp_path)


def test_what_is_no_photograph_is_named(flowers, archive, tmp_path):
    """A corrupt photograph is detected during preparation, and no files remain."""
    (flowers / "roses" / "page.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(ImageError, match=r"roses/page\.jpg is not a readable image"):
        prepare("tf_flowers", str(flowers), str(tmp_path / "data"))
    assert not list((tmp_path / "data").rglob("*.array_record*"))
    os.mkfifo(tmp_path / "fifo.tar")
    assert "neither a folder nor an archive" in failure(tmp_path / "fifo.tar", tmp_path)


def test_from_is_for_flowers_only(tmp_path):
    """The option is an error for other data sets."""
    with pytest.raises(SourceError, match="folder:PATH"):
        main(["cifar10", "--from", str(tmp_path)])


def test_synthetic_flowers_are_prepared_by_name(monkeypatch, tmp_path):
    """The command prepares synthetic_flowers."""
    from netzoo.data.sources.synthetic import builder

    monkeypatch.setattr(builder, "prepare", lambda data_dir: ("painted", data_dir))
    assert prepare_module.prepare("synthetic_flowers", None, "here") == ("painted", "here")


def test_tensorflow_is_never_imported(flowers, tmp_path):
    """The data layer works without TensorFlow and never imports it."""
    code = (
        "import sys; from netzoo.cli import prepare; from netzoo.data import open_source; "
        f"prepare.prepare('tf_flowers', {str(flowers)!r}, {str(tmp_path / 'data')!r}); "
        f"open_source('tfds:tf_flowers', 'train', {str(tmp_path / 'data')!r})[0]; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.real_data
def test_real_flowers_counts(tmp_path):
    """The photographs give the published counts and split sizes."""
    folder = os.environ.get("NETZOO_FLOWER_PHOTOS")
    if not folder:
        pytest.skip("NETZOO_FLOWER_PHOTOS does not name the folder of photographs")
    builder = prepare("tf_flowers", folder, str(tmp_path))
    assert prepare_module.count_classes(builder) == {
        "train": {"dandelion": 898, "daisy": 633, "tulips": 799, "sunflowers": 699, "roses": 641}
    }
    assert builder.info.splits["train[:80%]"].num_examples == 2936
