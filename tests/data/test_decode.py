"""Decoding: every common file gives the correct pixels or a helpful error."""

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from netzoo.data import decode
from netzoo.data.decode import ImageError, LazyImage, check_header, decode_image

RED, GREEN = (220, 30, 40), (20, 200, 60)


def two_tone(height=24, width=40):
    """An image with a red left and a green right half, to detect rotations."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, GREEN
    return pixels


def encode(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def upside_down():
    """EXIF metadata of an upside-down image."""
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


def assert_near(actual, expected, tolerance=6):
    np.testing.assert_allclose(
        actual.astype(int), np.broadcast_to(expected, actual.shape), atol=tolerance
    )


def test_png_is_exact_rgb():
    """Channel order and size are correct."""
    pixels = two_tone()
    decoded = decode_image(encode(Image.fromarray(pixels)), "a.png")
    assert decoded.dtype == np.uint8 and decoded.flags.writeable and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, pixels)


def test_jpeg_agrees_with_opencv():
    """An independent decoder gives the same pixels."""
    gradient = cv2.resize(two_tone(), (96, 64), interpolation=cv2.INTER_CUBIC)
    data = encode(Image.fromarray(gradient), "JPEG", quality=95)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert_near(decode_image(data, "a.jpg"), other, tolerance=3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
def test_plain_jpegs_have_pillows_pixels(mode, options):
    """The fast path for plain JPEGs has the same pixels and array properties."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(cv2.resize(noise, (61, 43), interpolation=cv2.INTER_CUBIC))
    data = encode(image.convert(mode), "JPEG", **options)
    decoded = decode_image(data, "a.jpg")
    assert decoded.flags.writeable and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(
    "rectangle", [(0, 3, 4, 9), (3, 0, 17, 60), (40, 8, 40, 20), (0, 0, 70, 70)]
)
@pytest.mark.parametrize(
    "options",
    [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}, {"exif": upside_down()}],
    ids=lambda options: next(iter(options)),
)
def test_crop_has_the_pixels_of_the_whole(rectangle, options):
    """Decoding fewer rows gives the same pixels, so caches do not change batches."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", restart_marker_blocks=3, **options)
    top, left, height, width = rectangle
    whole = decode_image(data, "a.jpg")
    expected = whole[top : top + height, left : left + width]
    for image in (data, whole):
        np.testing.assert_array_equal(LazyImage(image, "a.jpg").crop(*rectangle), expected)


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
def test_every_lower_edge_has_the_pixels_of_the_whole(subsampling):
    """A crop needs at most one row below it, for every subsampling of the colours."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 33, 3), dtype=np.uint8)
    grey = subsampling == "Gray"
    pixels = noise[..., :1].copy() if grey else noise
    data = simplejpeg.encode_jpeg(
        pixels, colorspace="GRAY" if grey else "RGB", colorsubsampling=subsampling
    )
    whole = decode_image(data, "a.jpg")
    for bottom in range(1, 51):
        crop = LazyImage(data, "a.jpg").crop(0, 0, bottom, 33)
        np.testing.assert_array_equal(crop, whole[:bottom], err_msg=f"{bottom} rows")


def test_crop_decodes_no_rows_below(monkeypatch):
    """A small crop decodes only the necessary rows."""
    data = encode(Image.fromarray(two_tone(240, 40)), "JPEG")
    heights = []

    def decode_jpeg(data, **options):
        heights.append(decode.simplejpeg.decode_jpeg_header(data)[0])
        return np.zeros((heights[-1], 40, 3), np.uint8)

    monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", decode_jpeg)
    image = LazyImage(data, "a.jpg")
    assert (image.height, image.width) == (240, 40) and heights == []
    image.crop(10, 0, 60, 40)
    assert heights == [10 + 60 + 1]


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9, 0.99])
def test_crop_of_a_truncated_file_is_an_error(share):
    """A truncated file is an error even if the rectangle is above the missing part."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG")
    with pytest.raises(ImageError, match="Cannot decode roses/half"):
        LazyImage(data[: int(len(data) * share)], "roses/half").crop(0, 0, 4, 4)


def test_jpeg_that_libjpeg_only_warns_of_is_read_by_pillow(monkeypatch):
    """Pillow reads the files that the fast path rejects."""
    data = encode(Image.fromarray(two_tone()), "JPEG")
    expected = decode_image(data, "a.jpg")

    def refuse(_, **options):
        raise ValueError("Corrupt JPEG data: 2 extraneous bytes before marker 0xd9")

    monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", refuse)
    np.testing.assert_array_equal(decode_image(data, "a.jpg"), expected)


def test_greyscale_fills_three_channels():
    """Greyscale photographs keep the shape contract."""
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    decoded = decode_image(encode(Image.fromarray(grey)), "grey.png")
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped():
    """16-bit greyscale is scaled, not clipped to white."""
    samples = np.array([[0, 257, 32768, 65535]], np.uint16)
    decoded = decode_image(encode(Image.fromarray(samples)), "scan.png")
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_colour():
    """16-bit RGB, which Pillow cannot write, decodes to 8-bit RGB."""
    samples = two_tone().astype(np.uint16) * 257
    done, data = cv2.imencode(".png", samples[..., ::-1])
    assert done
    assert_near(decode_image(data.tobytes(), "scan.png"), two_tone(), tolerance=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white(mode):
    """Transparent pixels are composited over white."""
    if mode == "P":
        image = Image.new("P", (8, 8), 0)
        image.putpalette([9, 9, 9, 200, 0, 0])
        data = encode(image, transparency=0)
    else:
        data = encode(Image.new(mode, (8, 8), 0))
    np.testing.assert_array_equal(decode_image(data, "clear.png"), np.full((8, 8, 3), 255))


def test_half_transparency_blends():
    """Partial transparency is blended."""
    data = encode(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))
    assert_near(decode_image(data, "half.png"), 127, tolerance=1)


def test_palette_without_transparency():
    """Palette indices are looked up."""
    image = Image.fromarray(two_tone()).convert("P", palette=Image.Palette.ADAPTIVE)
    assert_near(decode_image(encode(image), "palette.png"), two_tone())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    """Every EXIF orientation is applied."""
    upright = two_tone()
    upright[:8, :8] = 255  # marks a corner to distinguish all orientations
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data, "phone.png"), upright)


@pytest.mark.parametrize("kind", ["exif", "xmp"])
def test_orientation_of_a_jpeg(kind):
    """The fast path for plain JPEGs respects orientations in all kinds of metadata."""
    exif = Image.Exif()
    exif[0x0112] = 6
    metadata = {"exif": exif, "xmp": b'<rdf:Description tiff:Orientation="6"/>'}[kind]
    data = encode(Image.fromarray(two_tone()), "JPEG", quality=95, **{kind: metadata})
    decoded = decode_image(data, "phone.jpg")
    assert decoded.shape == (40, 24, 3)
    assert_near(decoded[2:16], RED)
    assert_near(decoded[24:38], GREEN)


@pytest.mark.parametrize("orientation", [None, 0, 1, 3, 9])
def test_only_turned_photographs_take_the_slow_path(orientation, monkeypatch):
    """The photographs of cameras have metadata, but most of them are stored upright."""
    exif = Image.Exif()
    exif[0x010F] = "camera"
    if orientation is not None:
        exif[0x0112] = orientation
    data = encode(Image.fromarray(two_tone(240, 40)), "JPEG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode_image(data, "a.jpg"), expected)
    sizes, decode_jpeg = [], simplejpeg.decode_jpeg

    def record(data, **options):
        pixels = decode_jpeg(data, **options)
        sizes.append(len(pixels))
        return pixels

    monkeypatch.setattr(decode.simplejpeg, "decode_jpeg", record)
    crop = LazyImage(data, "a.jpg").crop(8, 4, 32, 16)
    np.testing.assert_array_equal(crop, expected[8:40, 4:20])
    assert sizes == ([] if orientation == 3 else [8 + 32 + 1])


def test_cmyk_with_adobe_marker_is_inverted():
    """Adobe's inverted CMYK JPEGs have correct colours."""
    data = encode(Image.fromarray(two_tone()).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert_near(decode_image(data, "print.jpg")[:, 2:16], RED, tolerance=10)


def test_cmyk_without_marker_is_plain():
    """CMYK JPEGs without Adobe's marker are not inverted."""
    cmyk = Image.fromarray(255 - np.asarray(Image.fromarray(two_tone()).convert("CMYK")), "CMYK")
    data = encode(cmyk, "JPEG", quality=95)
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4], "big") + 2
    plain = data[:start] + data[start + length :]
    assert_near(decode_image(plain, "print.jpg")[:, 2:16], RED, tolerance=10)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_truncated_is_an_error(file_format, share):
    """A truncated file is an error, not a partly grey image."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), file_format)
    with pytest.raises(ImageError, match="Cannot decode roses/half"):
        decode_image(data[: int(len(data) * share)], "roses/half")


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\xff\xd8\xff\xe0", b"\0" * 999])
def test_no_image_is_an_error_naming_the_file(data):
    """An HTML page saved as .jpg is reported."""
    with pytest.raises(ImageError, match=r"daisy/page\.jpg"):
        decode_image(data, "daisy/page.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_is_an_error(monkeypatch):
    """A small file that declares a huge image is rejected before allocating memory."""
    monkeypatch.setattr(decode.Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="over the limit of 100"):
        decode_image(encode(Image.new("RGB", (11, 12))), "bomb.png")
    with pytest.raises(ImageError, match=r"bomb\.png"):
        decode_image(encode(Image.new("RGB", (100, 100))), "bomb.png")


def test_floating_point_is_refused():
    """Floating-point pixels, whose range is unknown, are rejected."""
    data = encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(ImageError, match="floating-point"):
        decode_image(data, "depth.tiff")


def test_damaged_exif_does_not_lose_the_picture():
    """Damaged metadata does not matter."""
    data = encode(Image.fromarray(two_tone()), "JPEG", exif=b"Exif\0\0garbage!")
    assert decode_image(data, "a.jpg").shape == (24, 40, 3)


def test_check_header():
    """Opening reads no pixels: a truncated file passes, but other files fail."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG")
    check_header(io.BytesIO(data[: len(data) // 2]), "half.jpg")
    with pytest.raises(ImageError, match=r"page\.jpg is not a readable image"):
        check_header(io.BytesIO(b"<html>"), "page.jpg")


def test_postscript_is_not_run():
    """EPS is rejected, because Pillow would run its program in Ghostscript."""
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    with pytest.raises(ImageError, match="unknown image format"):
        decode_image(data, "a.jpg")


@pytest.mark.parametrize("options", [{"progressive": True}, {"streamtype": 0}])
def test_scans_are_bounded(options):
    """The number of scans is limited: 10 MB of scans would decode for an hour."""
    data = encode(Image.fromarray(two_tone()), "JPEG", **options)
    scan = data.rindex(b"\xff\xda")
    start = data.rindex(b"\xff\xc4", 0, scan) if "progressive" in options else scan
    bomb = data[:-2] + 200 * data[start:-2] + data[-2:]
    for read in (decode_image, lambda *args: LazyImage(*args).crop(0, 0, 4, 4)):
        if "progressive" in options:
            with pytest.raises(ImageError, match=r"bomb\.jpg .*more than 200 scans"):
                read(bomb, "bomb.jpg")
        else:  # one scan holds all of it, and the decoder stops there
            read(data, "a.jpg")


def test_segments_are_bounded():
    """The number of segments is limited: millions would take gigabytes and minutes."""
    data = encode(Image.fromarray(two_tone()), "JPEG")
    bomb = data[:2] + 5000 * b"\xff\xe5\x00\x02" + data[2:]
    for read in (decode_image, lambda *args: LazyImage(*args).crop(0, 0, 4, 4)):
        with pytest.raises(ImageError, match=r"Cannot decode bomb\.jpg: over 4,096 segments"):
            read(bomb, "bomb.jpg")
    assert decode_image(data[:2] + 1000 * b"\xff\xe5\x00\x02" + data[2:], "a.jpg").any()


def test_names_cannot_steer_the_terminal():
    """Any file name gives a one-line message."""
    with pytest.raises(ImageError) as caught:
        decode_image(b"", "a\n\x1b[31m\udcff.jpg")
    assert r"a\n\x1b[31m\udcff.jpg" in str(caught.value) and str(caught.value).isprintable()
