import io
import os
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from instantid import image_files
from instantid.errors import InvalidImage, InvalidRequest
from instantid.images import (
    CANVAS_SIDES,
    box_mask,
    canvas_size,
    check_sides,
    closer,
    fingerprint,
    fit,
    from_bgr,
    in_blocks,
    open_image,
    to_bgr,
)
from instantid.request import limits

ORIENTATION = 0x0112


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size and a.mode == b.mode == "RGB"
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


# Opening


def heic(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=90, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "JPEG2000"])
def test_common_formats_are_read(format_):
    assert difference(open_image(encoded(gradient(), format_)), gradient()) < 6


def test_heic_is_read_without_changing_pillow():
    data = heic(gradient())
    assert difference(open_image(data), gradient()) < 6
    with pytest.raises(OSError):
        Image.open(io.BytesIO(data))


def test_paths_strings_bytes_and_pil_images_are_the_same(tmp_path):
    path = tmp_path / "photo.png"
    gradient().save(path)
    for source in (path, str(path), path.read_bytes(), gradient()):
        assert difference(open_image(source), gradient()) == 0


def test_an_rgb_image_passes_through():
    image = gradient()
    assert open_image(image) is image


@pytest.mark.parametrize(
    "orientation, undo",
    [
        (3, Image.Transpose.ROTATE_180),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_photo_is_set_upright_once(orientation, undo, format_):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    opened = open_image(encoded(gradient().transpose(undo), format_, exif=exif))
    assert difference(opened, gradient()) < 6
    assert difference(open_image(opened), opened) == 0
    assert difference(open_image(encoded(opened, "PNG")), opened) == 0


def test_a_turned_heic_is_set_upright_once():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = heic(gradient().transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes())
    assert difference(open_image(data), gradient()) < 6


def test_unreadable_exif_does_not_cost_the_photo():
    data = encoded(gradient(), "WEBP", lossless=True, exif=b"Exif\0\0no tags at all")
    assert difference(open_image(data), gradient()) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_lies_on_white(mode):
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 51)).convert(mode)
    assert open_image(image).getpixel((5, 5)) == (204, 204, 204)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_lies_on_white(mode):
    black = Image.new("L", (40, 40), 0).convert(mode)
    data = encoded(black, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert open_image(data).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_modes_keep_their_picture(mode):
    checks = Image.fromarray(np.kron([[255, 0], [0, 255]], np.ones((24, 24))).astype(np.uint8)).convert("RGB")
    opened = open_image(checks.convert("L").convert(mode) if mode in "1P" else checks.convert(mode))
    assert difference(opened, checks) < 2


def test_a_cmyk_jpeg_is_not_inverted():
    assert difference(open_image(encoded(gradient().convert("CMYK"), "JPEG")), gradient()) < 6


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    want = np.rint(ramp / 257)
    for format_ in ("PNG", "TIFF"):
        opened = open_image(encoded(Image.fromarray(ramp), format_))
        np.testing.assert_array_equal(np.asarray(opened)[:, :, 1], want)
    np.testing.assert_array_equal(
        np.asarray(open_image(Image.fromarray(ramp.astype(np.int32))))[:, :, 0], want
    )


@pytest.mark.parametrize("highest", [1.0, 255.0])
def test_floats_from_0_to_1_or_255_are_read(highest):
    ramp = np.tile(np.linspace(0, highest, 64, dtype=np.float32), (48, 1))
    opened = np.asarray(open_image(encoded(Image.fromarray(ramp), "TIFF")))
    np.testing.assert_array_equal(opened[:, :, 0], np.rint(ramp * np.float32(255 / highest)))


@pytest.mark.parametrize("value", [-1.0, 300.0, np.nan])
def test_floats_without_an_agreed_range_are_refused(value):
    image = Image.fromarray(np.full((48, 64), value, np.float32))
    with pytest.raises(InvalidImage, match="brightness"):
        open_image(image)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(format_):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], format_, save_all=True, append_images=frames[1:], duration=100)
    assert difference(open_image(data), frames[0]) < 3


# Refusing


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is width×height, with next to no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000), (80_000_001, 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_before_decoding(size):
    with pytest.raises(InvalidImage, match="up to 80 megapixels"):
        open_image(bomb(*size))


def test_pillow_keeps_its_own_limit():
    open_image(gradient())
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "HEIC"])
@pytest.mark.parametrize("part", [0.05, 0.3, 0.9])
def test_truncated_files_are_refused(format_, part, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = heic(Image.fromarray(noise)) if format_ == "HEIC" else encoded(Image.fromarray(noise), format_)
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InvalidImage, match=r"half\.jpg"):
        open_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "PPM", "BMP", "HEIC"])
def test_damaged_files_open_or_are_refused_but_never_crash(format_):
    random = np.random.default_rng(1)
    data = heic(gradient()) if format_ == "HEIC" else encoded(gradient(), format_)
    for reach in [len(data)] * 20 + [min(len(data), 200)] * 20:
        damaged = bytearray(data)
        for place in random.integers(0, reach, 8):
            damaged[place] = random.integers(0, 256)
        try:
            assert open_image(bytes(damaged)).mode == "RGB"
        except InvalidImage:
            continue


@pytest.mark.parametrize("content", [b"hello, this is a letter", b"%PDF-1.4 pages", b"\0" * 500])
def test_what_is_no_picture_is_refused_by_name(content, tmp_path):
    path = tmp_path / "letter.png"
    path.write_bytes(content)
    with pytest.raises(InvalidImage, match=r"letter\.png.*not a picture.*JPEG"):
        open_image(path)


def test_postscript_is_never_run(tmp_path):
    with pytest.raises(InvalidImage, match="not a picture"):
        open_image(encoded(gradient(), "EPS"))


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(InvalidImage, match=r"empty\.jpg.*empty file"):
        open_image(path)


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InvalidImage, match="folder"):
        open_image(tmp_path)
    with pytest.raises(InvalidImage, match=r"no file .*gone\.jpg"):
        open_image(tmp_path / "gone.jpg")
    with pytest.raises(InvalidImage, match="no regular file"):
        open_image(tmp_path / "pipe.png")
    with pytest.raises(InvalidImage, match="cannot be read"):
        open_image("bad\0name.png")


def test_an_enormous_file_is_not_even_read(tmp_path):
    path = tmp_path / "film.mov"
    with path.open("wb") as file:
        file.truncate(image_files.MAX_BYTES + 1)
    with pytest.raises(InvalidImage, match=r"film\.mov.*MB"):
        open_image(path)


def test_a_tiny_picture_is_refused():
    with pytest.raises(InvalidImage, match="This picture is only 31×200 pixels"):
        open_image(Image.new("RGB", (31, 200)))
    assert open_image(Image.new("RGB", (32, 200))).size == (32, 200)


def test_what_is_no_source_is_refused():
    with pytest.raises(InvalidImage, match="not ndarray"):
        open_image(np.zeros((64, 64, 3), np.uint8))


# Pixels


def test_bgr_and_back():
    image = gradient()
    array = to_bgr(image)
    assert array.shape == (48, 64, 3) and array.dtype == np.uint8
    assert tuple(array[0, 5]) == image.getpixel((5, 0))[::-1]
    assert difference(from_bgr(array), image) == 0


def test_a_resaved_copy_has_the_same_fingerprint(tmp_path):
    gradient().save(tmp_path / "a.png", compress_level=1)
    gradient().save(tmp_path / "b.webp", lossless=True)
    prints = {fingerprint(open_image(path)) for path in tmp_path.iterdir()} | {fingerprint(gradient())}
    assert len(prints) == 1
    assert prints.pop().startswith("sha256:")


def test_other_pixels_or_another_shape_have_another_fingerprint():
    image, changed = Image.new("RGB", (64, 48)), Image.new("RGB", (64, 48))
    changed.putpixel((63, 47), (0, 0, 1))
    assert len({fingerprint(each) for each in (image, changed, Image.new("RGB", (48, 64)))}) == 3


# Canvas

MEGAPIXEL = (1024, 1024)


@pytest.mark.parametrize(
    "photo, area, width, height, want",
    [
        ((800, 600), MEGAPIXEL, 640, 512, (640, 512)),
        (None, MEGAPIXEL, None, None, (1024, 1024)),
        (None, (832, 1216), None, None, (832, 1216)),
        ((4000, 4000), MEGAPIXEL, None, None, (1024, 1024)),
        ((1023, 1024), MEGAPIXEL, None, None, (1024, 1024)),
        ((1080, 1620), MEGAPIXEL, None, None, (832, 1248)),
        ((1620, 1080), MEGAPIXEL, None, None, (1248, 832)),
        ((1500, 1000), MEGAPIXEL, 600, None, (600, 400)),
        ((1500, 1000), MEGAPIXEL, None, 400, (600, 400)),
        (None, (512, 768), 256, None, (256, 384)),
        ((10_000, 100), MEGAPIXEL, 640, None, (640, 64)),
    ],
)
def test_canvas_size(photo, area, width, height, want):
    assert canvas_size(photo, area=area, width=width, height=height) == want


@pytest.mark.parametrize("area", [(256, 256), (512, 512), (1024, 1024), (832, 1216), (2048, 2048)])
def test_any_photo_gets_a_canvas_of_its_shape_within_the_budget(area):
    for width, height in np.random.default_rng(0).integers(32, 6000, (500, 2)).tolist():
        canvas = canvas_size((width, height), area=area, width=None, height=None)
        pixels = area[0] * area[1]
        assert all(side % 8 == 0 and limits("width")[0] <= side <= limits("width")[1] for side in canvas)
        assert canvas[0] * canvas[1] <= pixels
        if max(width, height) / min(width, height) < min(pixels / 64**2, 4096**2 / pixels):
            assert canvas[0] * canvas[1] > 0.75 * pixels  # the loss is largest where a side is a few 8s
            assert fit((width, height), canvas).placed == canvas


def test_computed_sides_keep_to_the_grid_of_the_vae():
    for photo in np.random.default_rng(0).integers(200, 600, (50, 2)).tolist():
        canvas = canvas_size(photo, area=(256, 256), width=None, height=None, grid=16)
        assert not any(side % 16 for side in canvas) and canvas[0] * canvas[1] > 0.75 * 256**2
        assert not canvas_size(photo, area=(256, 256), width=160, height=None, grid=16)[1] % 16


def test_a_chosen_side_off_the_grid_is_refused_with_what_to_take():
    check_sides(1016, 264, 8)
    check_sides(None, 256, 16)
    with pytest.raises(InvalidRequest, match=r"height is 264\. Take 256 or 272"):
        check_sides(256, 264, 16)


def test_what_is_read_in_blocks_is_read_small_and_drawn_large():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8))
    sizes = []
    drawn = in_blocks(picture, 4, lambda coarse: sizes.append(coarse.size) or coarse)
    assert sizes == [(5, 3)] and drawn.size == (20, 12)
    pixels = np.asarray(drawn).reshape(3, 4, 5, 4, 3)
    assert np.array_equal(pixels, np.broadcast_to(pixels[:, :1, :, :1], pixels.shape))
    means = np.asarray(picture, float).reshape(3, 4, 5, 4, 3).mean(axis=(1, 3))
    assert np.abs(pixels[:, 0, :, 0] - means).max() <= 1
    assert np.array_equal(np.asarray(in_blocks(picture, 1)), np.asarray(picture))


def test_computed_sides_keep_to_the_limits_of_a_request():
    assert CANVAS_SIDES == limits("width") == limits("height")


def test_an_extreme_shape_stops_at_the_smallest_and_the_largest_side():
    assert canvas_size((50, 5000), area=(256, 256), width=None, height=None) == (64, 1024)
    assert canvas_size((5000, 50), area=MEGAPIXEL, width=None, height=None) == (4096, 256)


# Fit


def test_a_wide_photo_lies_centred_and_whole_on_a_square():
    laid = fit((200, 100), (400, 400))
    assert (laid.offset, laid.placed) == ((0, 100), (400, 200))
    np.testing.assert_allclose(laid.keypoints([[0, 0], [200, 100]]), [[0, 100], [400, 300]])
    np.testing.assert_allclose(laid.box([50, 25, 100, 75]), [100, 150, 200, 250])


def test_a_tall_photo_lies_centred_and_whole_on_a_wide_canvas():
    laid = fit((100, 400), (320, 200))
    assert (laid.offset, laid.placed) == ((135, 0), (50, 200))


def test_nearly_the_same_shape_is_stretched_without_margins():
    assert fit((1000, 1000), (512, 519)).placed == (512, 519)
    assert fit((1000, 1000), (512, 520)).placed == (512, 512)


def test_keypoints_land_where_the_picture_does():
    photo = Image.new("RGB", (300, 200))
    photo.paste("white", (120, 60, 140, 80))
    laid = fit(photo.size, (512, 640))
    canvas = np.asarray(laid.image(photo, background=(255, 0, 0)))
    assert canvas.shape == (640, 512, 3)
    assert tuple(canvas[0, 0]) == (255, 0, 0)
    ys, xs = np.nonzero((canvas > 128).all(axis=-1))
    centre = laid.keypoints([[130, 70]])[0]
    np.testing.assert_allclose([xs.mean() + 0.5, ys.mean() + 0.5], centre, atol=0.51)


@pytest.mark.parametrize("size", [(600, 400), (60, 40)])
def test_larger_and_smaller_photos_fill_their_place(size):
    canvas = fit(size, (120, 120)).image(gradient(*size))
    assert canvas.size == (120, 120)
    assert difference(canvas.crop((0, 20, 120, 100)), gradient(120, 80)) < 3


# Mask


def test_the_mask_is_one_inside_the_truncated_box():
    mask = box_mask(np.array([2.9, 1.2, 5.9, 3.9]), 8, 6)
    want = np.zeros((6, 8), np.float32)
    want[1:3, 2:5] = 1
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, want)


def test_a_box_that_reaches_past_the_edge_keeps_the_part_inside():
    mask = box_mask(np.array([-3.0, -5.0, 4.0, 100.0]), 8, 6)
    assert mask[:, :4].all() and not mask[:, 4:].any()


@pytest.mark.parametrize("box", [(-9, -9, -1, -1), (8, 0, 12, 6), (3, 3, 3, 5), (5, 5, 2, 2)])
def test_a_face_off_the_canvas_is_refused(box):
    with pytest.raises(InvalidRequest, match="outside the 8×6 canvas"):
        box_mask(np.array(box, np.float32), 8, 6)


def test_opening_leaves_no_file_open(tmp_path):
    path = tmp_path / "photo.png"
    gradient().save(path)
    opened = open_image(path)
    path.unlink()
    assert difference(opened, gradient()) == 0


def test_a_map_is_read_off_as_much_of_the_photo_as_the_canvas_shows():
    there, whole = closer(fit((64, 48), (64, 48)), 2.0, (48, 24), (32, 24)), gradient()
    seen: list[Image.Image] = []
    drawn = there.reading(whole, lambda shown: seen.append(shown) or shown)
    [shown] = seen
    # The middle of its right half: twice as large, and beyond it nothing.
    assert shown.size == (64, 48) and difference(drawn, there.image(whole)) < 0.5
    aside = closer(fit((64, 48), (64, 48)), 2.0, (60, 24), (32, 24))
    drawn = aside.reading(whole, lambda shown: Image.new("RGB", shown.size, "white"))
    assert np.asarray(drawn)[:, :40].min() == 255 and np.asarray(drawn)[:, 41:].max() == 0
