import io

import numpy as np
import pytest
from PIL import Image

from pyrovae.sources.images import read_images

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def one(folder, image, name="a.png"):
    image.save(folder / name)
    return read_images(folder)[0]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_grey_levels_come_as_they_are(tmp_path, mode):
    assert np.array_equal(one(tmp_path, Image.fromarray(GREY).convert(mode)), GREY)


def test_black_and_white_and_palettes_become_levels(tmp_path):
    halves = np.where(GREY < 128, 0, 255).astype(np.uint8)
    assert np.array_equal(one(tmp_path, Image.fromarray(GREY < 128).convert("1")), 255 - halves)
    palette = Image.fromarray(halves).convert("P")
    assert np.array_equal(one(tmp_path, palette), halves)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_seen_before_white(tmp_path, mode):
    black = Image.new(mode, (16, 16), 0)
    black.putalpha(Image.fromarray(GREY))
    assert np.abs(one(tmp_path, black) - (255.0 - GREY)).max() <= 1


def test_a_transparent_colour_of_a_palette_is_seen_before_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 10, 10, 10])
    palette.putdata([0, 1])
    palette.save(tmp_path / "a.png", transparency=0)
    assert read_images(tmp_path)[0].tolist() == [[255, 10]]


@pytest.mark.parametrize(
    ("values", "name", "mode"),
    [
        (np.array([[0, 255], [256, 65535]], np.uint16), "deep.png", "I;16"),
        (np.array([[0, 255], [256, 65535]], np.uint16), "deep.tif", "I;16"),
        (np.array([[0, 255], [256, 2**31 - 1]], np.int32), "deeper.tif", "I"),
        (np.array([[0, 0.25], [0.5, 1]], np.float32), "real.tif", "F"),
    ],
)
def test_more_than_8_bits_are_refused(tmp_path, values, name, mode):
    Image.fromarray(values).save(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is an image of mode {mode}; read are those of 8"):
        read_images(tmp_path)


@pytest.mark.parametrize("ending", ["gif", "tif", "webp"])
def test_a_file_of_several_images_is_refused(tmp_path, ending):
    images = [Image.fromarray(GREY + np.uint8(i)) for i in range(3)]
    images[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=images[1:])
    with pytest.raises(ValueError, match=f"a.{ending} holds 3 images: save each in a file of its"):
        read_images(tmp_path)


def test_a_photograph_is_seen_as_its_camera_was_held(tmp_path):
    held = Image.Exif()
    held[0x0112] = 6  # what is to be above lies on the left
    tall = Image.fromarray(GREY[:, :8])
    tall.save(tmp_path / "a.png", exif=held)
    assert np.array_equal(read_images(tmp_path)[0], np.rot90(GREY[:, :8], -1))


def test_a_flipped_byte_is_refused_wherever_it_is(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG")
    whole = buffer.getvalue()
    said = []
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1
        (tmp_path / "a.png").write_bytes(content)
        try:
            read_images(tmp_path)
        except ValueError as error:
            said.append(str(error))
    assert len(said) > len(whole) // 2
    assert all("a.png is " in message for message in said)
