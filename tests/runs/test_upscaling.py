"""Upscaling of images of any mode and size: tiles, PNG files, image modes, and the command."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import as_pillow, photograph, run_module
from PIL import Image, ImageCms
from torch import Tensor

from gan_lab import Run
from gan_lab.data.degradation import upscale_bicubic
from gan_lab.data.png_writer import PngWriter
from gan_lab.models import esrgan, srgan
from gan_lab.models.tiling import upscale_strips, upscale_tiled
from gan_lab.models.upscaler import Upscaler
from gan_lab.runs.upscaling import TiledUpscaler, output_paths, passed_over
from gan_lab.storage.run_directory import RunDirectory

CPU = torch.device("cpu")


def with_large_weights(network: Upscaler) -> Upscaler:
    """Set weights large enough for neighboring pixels to matter, and small enough for the output not to saturate."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.15 if parameter.dim() > 1 else 0.02)
    return network.eval()


# -- tiles ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 8))])
@pytest.mark.parametrize("family", [srgan.MSRResNet, srgan.SRResNet])
def test_tiles_have_no_visible_seams(family: type[Upscaler], scale: int) -> None:
    network = with_large_weights(family(3, scale, 8, 2))  # type: ignore[call-arg]
    image = photograph(37, 53)
    whole = upscale_tiled(network, image, CPU, tile=64)
    assert whole.float().std() > 20 and whole.shape == (3, 37 * scale, 53 * scale)
    for tile in (7, 16, 40):
        tiled = upscale_tiled(network, image, CPU, tile=tile)
        assert (tiled.int() - whole.int()).abs().max() <= 1, tile
    without = upscale_tiled(network, image, CPU, tile=16, margin=0)
    assert (without.int() - whole.int()).abs().max() > 8, "without a margin there are seams"


@pytest.mark.parametrize(
    "network",
    [
        srgan.MSRResNet(1, 4, 4, 3),
        srgan.SRResNet(1, 4, 4, 3),
        esrgan.RRDBNet(1, 4, 4, 1, 4),
        srgan.MSRResNet(1, 2, 4, 1),
    ],
    ids=["srgan", "srgan_bn", "esrgan", "twice"],
)
def test_the_receptive_radius_of_a_network_is_correct(network: Upscaler) -> None:
    network = with_large_weights(network).double()
    low = torch.zeros(1, 1, 1, 2 * network.receptive_radius + 9, dtype=torch.double)
    low = low.expand(1, 1, 2 * network.receptive_radius + 9, -1).clone().requires_grad_()
    middle = low.shape[-1] // 2
    network(low)[0, 0, middle * network.scale : (middle + 1) * network.scale].sum(0)[
        middle * network.scale : (middle + 1) * network.scale
    ].sum().backward()
    rows = low.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]
    reached = max(middle - int(rows.min()), int(rows.max()) - middle)
    assert network.receptive_radius - 3 <= reached <= network.receptive_radius


def test_rows_are_read_one_strip_at_a_time() -> None:
    network, asked = with_large_weights(srgan.MSRResNet(1, 2, 4, 1)), []

    def read(top: int, bottom: int) -> Tensor:
        asked.append((top, bottom))
        return torch.zeros(1, bottom - top, 10, dtype=torch.uint8)

    heights = [strip.shape[1] for strip in upscale_strips(network, read, 100, 10, CPU, tile=32)]
    assert heights == [64, 64, 64, 8] and network.receptive_radius == 6
    assert asked == [(0, 38), (26, 70), (58, 100), (90, 100)]


# -- PNG -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_reads_written_png_files(channels: int) -> None:
    rows = np.concatenate(
        [photograph(41, 29, channels=channels).permute(1, 2, 0).numpy(), np.zeros((3, 29, channels), np.uint8)]
    )
    rows[20:25] = np.random.default_rng(0).integers(0, 256, (5, 29, channels))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    with PngWriter(file, 29, 44, channels, profile) as png:
        for start, end in ((0, 1), (1, 17), (17, 44)):
            png.write(rows[start:end])
    with Image.open(file) as image:
        image.load()
        assert image.mode == ["L", "LA", "RGB", "RGBA"][channels - 1] and image.info["icc_profile"] == profile
        assert np.array_equal(np.asarray(image).reshape(rows.shape), rows)
    own = io.BytesIO()
    Image.fromarray(rows[:, :, 0] if channels == 1 else rows).save(own, "PNG")
    assert len(file.getvalue()) < 1.2 * len(own.getvalue()) + len(profile)


def test_an_incomplete_png_is_rejected() -> None:
    with pytest.raises(AssertionError, match="1 rows of 2"), PngWriter(io.BytesIO(), 4, 2, 1) as png:
        png.write(np.zeros((1, 4, 1), np.uint8))


# -- image modes ---------------------------------------------------------------------------------------------------------------


class Repeating(Upscaler):
    """Upscales by repeating pixels, so that the exact output is known."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__(channels=3, scale=scale, width=1, blocks=1, condition=esrgan.GeneratorCondition())
        self.receptive_radius = 0
        self.weight = torch.nn.Parameter(torch.ones(()))

    def upscale(self, low: Tensor) -> Tensor:
        return low.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def make_upscaler(channels: int = 3, tile: int = 5) -> TiledUpscaler:
    return TiledUpscaler(Repeating().eval(), channels, CPU, tile)


def repeated(image: Image.Image) -> np.ndarray:
    return np.asarray(image).repeat(2, 0).repeat(2, 1)


COLOR, GRAY = as_pillow(photograph(13, 9)), as_pillow(photograph(13, 9, channels=1))
ALPHA = Image.fromarray((np.indices((13, 9)).sum(0) * 12).astype(np.uint8))


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(ALPHA)
    return image


@pytest.mark.parametrize(
    ("image", "mode", "expected"),
    [
        (COLOR, "RGB", COLOR),
        (GRAY, "L", GRAY),
        (COLOR.convert("CMYK"), "RGB", COLOR.convert("CMYK").convert("RGB")),
        (COLOR.convert("P"), "RGB", COLOR.convert("P").convert("RGB")),
        (COLOR.convert("1"), "L", COLOR.convert("1").convert("L")),
        (Image.fromarray(np.asarray(GRAY).astype(np.uint16) * 257), "L", GRAY),
    ],
    ids=["color", "gray", "cmyk", "palette", "black-and-white", "16-bit"],
)
def test_images_of_any_mode_are_upscaled(image: Image.Image, mode: str, expected: Image.Image) -> None:
    large = make_upscaler().upscale(image)
    assert large.mode == mode and large.size == (18, 26)
    assert np.abs(np.asarray(large).astype(int) - repeated(expected)).max() <= 1


@pytest.mark.parametrize("image", [COLOR, GRAY], ids=["color", "gray"])
def test_alpha_is_interpolated_and_does_not_change_colors(image: Image.Image) -> None:
    large = make_upscaler(tile=4).upscale(with_alpha(image))
    assert large.mode == image.mode + "A"
    assert np.array_equal(np.asarray(large)[..., :-1].squeeze(), np.asarray(make_upscaler().upscale(image)))
    alpha = upscale_bicubic(torch.from_numpy(np.array(ALPHA))[None], 2)[0].numpy()
    assert np.array_equal(np.asarray(large)[..., -1], alpha), "strips give the same result as the whole image"


def test_a_gray_network_upscales_the_luma_of_color_images() -> None:
    large = make_upscaler(channels=1).upscale(COLOR)
    luma, wanted = (np.asarray(p.convert("YCbCr"))[..., 0].astype(int) for p in (large, Image.fromarray(repeated(COLOR))))
    assert large.mode == "RGB" and np.median(np.abs(luma - wanted)) <= 1  # values outside the color range are clipped
    assert np.array_equal(np.asarray(make_upscaler(channels=1).upscale(GRAY)), repeated(GRAY))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    COLOR.save(tmp_path / "a.png", exif=exif)
    assert make_upscaler().write(tmp_path / "a.png", tmp_path / "b.png", lambda done, total: None) == (26, 18)
    with Image.open(tmp_path / "b.png") as large:
        assert np.array_equal(np.asarray(large), repeated(COLOR.transpose(Image.Transpose.ROTATE_270)))


# -- files ---------------------------------------------------------------------------------------------------------------


def test_a_failed_upscaling_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"a\.jpg can't be read"):
        make_upscaler().write(tmp_path / "a.jpg", tmp_path / "out" / "b.png", lambda done, total: None)
    COLOR.save(tmp_path / "c.png")
    monkeypatch.setattr("gan_lab.data.image_decoding.MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="9 x 13 pixels are more than the 100 allowed"):
        make_upscaler().write(tmp_path / "c.png", tmp_path / "d.png", lambda done, total: None)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"c\.png/d\.png can't be written \(.*\); choose another out="):
        make_upscaler().write(tmp_path / "c.png", tmp_path / "c.png" / "d.png", lambda done, total: None)

    def broken(self: TiledUpscaler, *layers: object) -> Iterator[np.ndarray]:
        yield np.zeros((2, 18, 3), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(TiledUpscaler, "rows", broken)
    with pytest.raises(KeyboardInterrupt):
        make_upscaler().write(tmp_path / "c.png", tmp_path / "d.png", lambda done, total: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "c.png"]


def test_output_paths_of_files_and_folders(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/c.png", "b/.hidden.png", "note.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    folder, out = tmp_path / "in", tmp_path / "in" / "large"
    assert output_paths(folder / "a.jpg", None, 4) == {folder / "a.jpg": folder / "a_x4.png"}
    assert output_paths(folder / "a.jpg", out, 2) == {folder / "a.jpg": out / "a_x2.png"}
    next_to_folder = {
        folder / "a.jpg": tmp_path / "in_x4" / "a.png",
        folder / "b" / "c.png": tmp_path / "in_x4" / "b" / "c.png",
    }
    assert output_paths(folder, None, 4) == next_to_folder
    out.mkdir()
    (out / "a.png").touch()  # written by an earlier command
    assert list(output_paths(folder, out, 4)) == list(next_to_folder), "outputs are not upscaled again"
    with pytest.raises(ValueError, match="no such file or folder"):
        output_paths(tmp_path / "nowhere", None, 4)
    with pytest.raises(ValueError, match=r"there is no image in this folder or below it; 1 file is passed over, .*\(1 \.txt\)"):
        output_paths(folder, folder, 4)
    assert "(1 .txt)" in passed_over(folder) and passed_over(folder / "a.jpg") == passed_over(out) == ""
    (folder / "a.webp").touch()
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.webp would both become"):
        output_paths(folder, None, 4)


# -- the command ---------------------------------------------------------------------------------------------------------


def test_images_are_upscaled_next_to_their_files_and_nothing_is_overwritten(upscaling: RunDirectory, tmp_path: Path) -> None:
    as_pillow(photograph(30, 21)).save(tmp_path / "photo.jpg")
    (tmp_path / "album").mkdir()
    with_alpha(COLOR).save(tmp_path / "album" / "a.png")
    GRAY.save(tmp_path / "album" / "b.png")
    run = f"run={upscaling.path}"

    def sample(*arguments: str) -> tuple[int, str]:
        done = run_module("sample", run, "device=cpu", *arguments, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    assert sample("input=photo.jpg", "tile=16") == (0, "photo_x4.png  84 x 120\n")
    with Image.open(tmp_path / "photo_x4.png") as large, Image.open(tmp_path / "photo.jpg") as small:
        expected = Run.open(upscaling.path).tiled_upscaler().upscale(small)
        assert np.array_equal(np.asarray(large), np.asarray(expected))
    before = (tmp_path / "photo_x4.png").stat().st_mtime_ns
    code, output = sample("input=photo.jpg")
    assert code == 1 and "photo_x4.png exists already: choose another out=, or overwrite=true" in output
    assert (tmp_path / "photo_x4.png").stat().st_mtime_ns == before
    assert sample("input=photo.jpg", "overwrite=true")[0] == 0 and sample("input=album", "checkpoint=pretrained")[0] == 0
    modes = {}
    for path in (tmp_path / "album_x4").iterdir():
        with Image.open(path) as large:
            modes[path.name] = large.mode
    assert modes == {"a.png": "RGBA", "b.png": "L"}
    (tmp_path / "album" / "0.png").write_bytes(b"not an image")
    COLOR.save(tmp_path / "album" / "c.png")
    before = (tmp_path / "album_x4" / "a.png").stat().st_mtime_ns
    code, output = sample("input=album")  # an image that can't be read does not stop the others, and what is done is kept
    assert code == 1 and (tmp_path / "album_x4" / "c.png").is_file(), output
    assert "2 of 4 images exist already and are left as they are" in output and "1 of 4 images could not be upscaled:" in output
    assert f"{Path('album', '0.png')} can't be read" in output and "Traceback" not in output
    assert (tmp_path / "album_x4" / "a.png").stat().st_mtime_ns == before
    for arguments, message in (
        ((), "this generator enlarges images: give it some by input=..."),
        (("input=photo.jpg", "overwrite=true", "truncation=0.5"), "truncation=0.5: has no effect with input=..."),
        (("input=photo.jpg", "overwrite=true", "tile=0"), "tile=0: must be at least 1 pixel"),
    ):
        code, output = sample(*arguments)
        assert code == 1 and message in output, output


def test_a_run_with_latents_upscales_nothing(finished: RunDirectory, tmp_path: Path) -> None:
    COLOR.save(tmp_path / "a.png")
    done = run_module("sample", f"run={finished.path}", "device=cpu", "input=a.png", cwd=tmp_path)
    assert done.returncode == 1 and "generates images from latents; it can't upscale an image" in done.stderr
