"""A folder of images, as 8-bit grey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrovae.sources.folders import files_of

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".webp")
# Of 8 bits or less. What Pillow makes of others (I, I;16, F) in 8 bits is cut off, not scaled.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


def read_images(folder: Path) -> NDArray[np.uint8]:
    """The images of a folder in the order of their names, (n, height, width), black 0 and white 255.

    Colours become grey by their luminance. What is transparent is seen before a white ground, as on a page,
    and a photograph as its camera was held.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: no images; a broken one; a file of several; one of more than 8 bits a channel or of
            another kind than grey, palette, RGB and these with transparency; images of different sizes.
    """
    paths = files_of(folder, ENDINGS)
    if not paths:
        raise ValueError(f"no images in {folder}; known endings are {', '.join(ENDINGS)}")
    images: list[NDArray[np.uint8]] = []
    for path in paths:
        images.append(_read(path))
        if images[-1].shape != images[0].shape:
            raise ValueError(
                f"{path.name} has {images[-1].shape} rows and columns, {paths[0].name} has "
                f"{images[0].shape}; bring all images to one size first"
            )
    return np.stack(images)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'pyrovae[images]'") from error
    try:
        with Image.open(path) as image:
            mode, frames = image.mode, getattr(image, "n_frames", 1)
            if mode in _MODES and frames == 1:
                return _grey(image)
    except Exception as error:  # a broken file raises whatever its first odd byte leads to
        raise ValueError(f"{path} is no whole image: {error}") from error
    if frames > 1:
        raise ValueError(f"{path} holds {frames} images: save each in a file of its own")
    raise ValueError(
        f"{path} is an image of mode {mode}; read are those of 8 bits: {', '.join(_MODES)}. Convert it, or "
        "give its values as an array or a .npy file"
    )


def _grey(image: Any) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return np.asarray(image.convert("L"))
