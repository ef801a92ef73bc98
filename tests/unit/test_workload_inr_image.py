"""Pictures in, pictures out, and their signal-to-noise ratio."""

import math

import numpy as np
import pytest
from PIL import Image

from workloads.api import WorkloadError
from workloads.inr import InrWorkload, image, pictures

TINY = {"hidden_layers": 1, "hidden_width": 4}


def test_whole_factor_scaling_is_the_exact_mean_of_blocks():
    pixels = np.random.default_rng(1).integers(256, size=(6, 12, 3)).astype(np.uint8)
    got = image.scale_down(Image.fromarray(pixels), 4)
    want = [
        [pixels[3 * y : 3 * y + 3, 3 * x : 3 * x + 3].mean(axis=(0, 1)) / 255 for x in range(4)]
        for y in range(2)
    ]
    np.testing.assert_allclose(got, want, atol=1e-7)
    assert got.dtype == np.float32


@pytest.mark.parametrize(("width", "height", "expected"), [(30, 20, (5, 7)), (100, 1, (1, 7))])
def test_other_factors_keep_the_aspect_and_the_mean(width, height, expected):
    pixels = np.random.default_rng(1).integers(256, size=(height, width, 3)).astype(np.uint8)
    got = image.scale_down(Image.fromarray(pixels), 7)
    assert got.shape == (*expected, 3)
    assert abs(got.mean() - pixels.mean() / 255) < 0.02


def test_small_picture_is_not_enlarged():
    pixels = np.full((3, 5, 3), 51, np.uint8)
    got = image.scale_down(Image.fromarray(pixels), 100)
    assert got.shape == (3, 5, 3)
    np.testing.assert_allclose(got, 0.2, atol=1e-7)


def test_named_picture_comes_from_scikit_image():
    assert image.load("astronaut", 128).shape == (128, 128, 3)
    assert image.load("coffee", 60).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (255, 0, 51), (1.0, 0.0, 0.2)),
        ("L", 51, (0.2, 0.2, 0.2)),
        ("1", 1, (1.0, 1.0, 1.0)),
        ("I;16", 51 * 257, (0.2, 0.2, 0.2)),
        ("LA", (0, 0), (1.0, 1.0, 1.0)),
        ("RGBA", (255, 0, 0, 255), (1.0, 0.0, 0.0)),
        ("RGBA", (255, 0, 0, 0), (1.0, 1.0, 1.0)),
    ],
)
def test_every_mode_of_file_becomes_rgb(tmp_path, mode, colour, expected):
    path = tmp_path / "picture.png"
    Image.new(mode, (6, 4), colour).save(path)
    got = image.load(str(path), 6)
    assert got.shape == (4, 6, 3)
    np.testing.assert_allclose(got[2, 3], expected, atol=1e-6)


def test_palette_picture_with_a_transparent_colour_is_laid_over_white(tmp_path):
    path = tmp_path / "picture.gif"
    Image.new("P", (4, 4), 0).save(path, transparency=0)
    np.testing.assert_allclose(image.load(str(path), 4), 1.0)


def test_file_that_is_no_picture_is_refused(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(WorkloadError, match="cannot be read as a picture"):
        image.load(str(path), 4)


def test_cut_off_picture_is_refused(tmp_path):
    path = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WorkloadError, match="cannot be read as a picture"):
        image.load(str(path), 4)


@pytest.mark.parametrize("side", [8200, 10_000, 20_000])
def test_huge_picture_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "huge.png"
    Image.new("1", (side, side)).save(path)
    with pytest.raises(WorkloadError, match="scale it down first"):
        image.load(str(path), 4)


def test_grid_spans_the_square_row_by_row():
    got = image.grid(3, 2)
    assert got.tolist() == [[-1, -1], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 1]]
    assert image.grid(1, 1).tolist() == [[0, 0]]


def test_psnr_is_ten_log_of_the_inverse_error():
    assert image.psnr_db(0.01) == pytest.approx(20.0)
    assert image.psnr_db(0.0) == image.PSNR_DB_MAX


def test_evaluate_of_a_constant_network_is_the_hand_computation(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("L", (8, 8), 51).save(path)
    workload = InrWorkload({"image": str(path), **TINY}, 1)
    # All weights 0, so the colour is 0.5 + 0.5 * last bias: first 0.3, then 1.5 clipped to 1.
    params = np.zeros_like(workload.initial())
    params[-3:] = -0.4
    metrics = workload.evaluate(params)
    assert metrics["loss"] == pytest.approx(0.01, rel=1e-5)
    assert metrics["psnr_db"] == pytest.approx(20.0, abs=1e-4)
    params[-3:] = 2.0
    metrics = workload.evaluate(params)
    assert metrics["loss"] == pytest.approx(1.3**2, rel=1e-5)
    assert metrics["psnr_db"] == pytest.approx(-20 * math.log10(0.8), abs=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_psnr_of_a_spoilt_model_is_a_low_number(value):
    workload = InrWorkload({"image": "astronaut", "size": 8, **TINY}, 1)
    metrics = workload.evaluate(np.full_like(workload.initial(), value))
    assert not metrics["loss"] < 1
    assert 0 < metrics["psnr_db"] < 15


def test_artifacts_are_pictures_of_the_right_size(tmp_path):
    workload = InrWorkload({"image": "coffee", "size": 60, **TINY}, 1)
    paths = workload.artifacts(workload.initial(), tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [
        "original.png",
        "reconstruction.png",
        "side_by_side.png",
    ]
    sizes = []
    for path in paths:
        with Image.open(path) as opened:
            opened.load()
            sizes.append((opened.format, opened.mode, opened.size))
    factor = 3  # 60 pixels enlarged to at least PANEL_PX_MIN = 128
    sheet = (3 * 60 * factor, 40 * factor + pictures.LABEL_PX)
    assert sizes == [("PNG", "RGB", (60, 40)), ("PNG", "RGB", (60, 40)), ("PNG", "RGB", sheet)]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(
        path.name for path in paths
    )


def test_artifacts_show_original_reconstruction_and_enlarged_error(tmp_path):
    original = np.full((128, 128, 3), 0.2, np.float32)
    fitted = np.full((128, 128, 3), 0.25, np.float32)
    paths = pictures.write(original, fitted, tmp_path)
    with Image.open(paths[2]) as sheet:
        row = pictures.LABEL_PX + 64
        shown = [sheet.getpixel((column * 128 + 64, row))[0] for column in range(3)]
    assert shown == [51, 64, round(0.05 * pictures.ERROR_GAIN * 255)]


def test_artifacts_of_a_diverged_model_are_still_pictures(tmp_path):
    original = np.zeros((4, 4, 3), np.float32)
    paths = pictures.write(original, np.full((4, 4, 3), np.nan, np.float32), tmp_path)
    with Image.open(paths[1]) as opened:
        assert opened.getextrema() == ((0, 0),) * 3


def test_artifacts_replace_older_files(tmp_path):
    workload = InrWorkload({"image": "coffee", "size": 8, **TINY}, 1)
    (tmp_path / "original.png").write_bytes(b"old")
    paths = workload.artifacts(workload.initial(), tmp_path)
    with Image.open(paths[0]) as opened:
        assert opened.size == (8, 5)
