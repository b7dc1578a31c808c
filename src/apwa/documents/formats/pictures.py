"""Pictures as models take them: as they are where they are small enough, else made smaller."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from apwa.documents.formats import Unreadable
from apwa.documents.messages import Asked, Counted, Item, Picture

LONGEST_SIDE = 1568
"""Pixels. Models that see make larger pictures smaller themselves, and count the tokens first."""

MOST_PICTURES = 20
"""Of a row: so many an ordinary request may hold."""

_MOST_PIXELS = 100_000_000
_MOST_BYTES = 3_500_000
_QUALITY = 88
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_TURNED = 0x0112  # EXIF: which way up

Image.MAX_IMAGE_PIXELS = None  # looked at here, with words of our own


def read(asked: Asked) -> Iterator[Item]:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    with _opened(path) as image:
        if asked.parts:
            for number in range(asked.first, asked.first + asked.parts):
                yield Item(number, None, [_frame(image, number - 1)])
            return
        frames = getattr(image, "n_frames", 1)
        if frames == 1 and (kept := _as_it_is(image, path)) is not None:
            yield Item(1, None, [kept])
            return
        wanted = frames if asked.type == "tiff" else 1  # of a moving picture the first one
        if wanted > MOST_PICTURES:
            raise Unreadable(f"it has {wanted:,} pages: read it with --split pages")
        yield Item(1, None, [_frame(image, index) for index in range(wanted)])


def count(asked: Asked) -> Counted:
    with _opened(Path(asked.path.decode("utf-8", "surrogateescape"))) as image:
        return Counted(getattr(image, "n_frames", 1))


def as_jpeg(image: Image.Image) -> Picture:
    """A picture within bounds: turned upright, no transparency, the longer side as models take."""
    upright = ImageOps.exif_transpose(image)
    if max(upright.size) > LONGEST_SIDE:
        upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    if upright.mode not in ("RGB", "L"):
        upright = _flattened(upright)
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=_QUALITY)
    return Picture("image/jpeg", upright.width, upright.height, out.getvalue())


def _flattened(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more: as far as it shows
        low, high = (float(edge) for edge in image.convert("F").getextrema())  # pyright: ignore
        scale = 255.0 / (high - low) if high > low else 1.0
        return image.convert("F").point(lambda value: (value - low) * scale).convert("L")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        return ground.convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise Unreadable("the file is no picture of a kind that can be read") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable(f"the picture is broken: {error}") from error
    if image.width * image.height > _MOST_PIXELS:
        raise Unreadable(
            f"the picture claims {image.width:,} by {image.height:,} pixels: at most"
            f" {_MOST_PIXELS:,} in all"
        )
    return image


def _frame(image: Image.Image, index: int) -> Picture:
    try:
        image.seek(index)
        if image.width * image.height > _MOST_PIXELS:
            raise Unreadable(f"page {index + 1:,} is larger than {_MOST_PIXELS:,} pixels")
        if image.format == "JPEG":
            image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # fewer pixels from the start
        image.load()
        return as_jpeg(image.copy() if index else image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Unreadable(f"the picture is broken: {error}") from error


def _as_it_is(image: Image.Image, path: Path) -> Picture | None:
    """The file's own bytes, where models take them so. Raises Unreadable if it is not whole."""
    type_ = _AS_THEY_ARE.get(image.format or "")
    if type_ is None or max(image.size) > LONGEST_SIDE or path.stat().st_size > _MOST_BYTES:
        return None
    try:
        turned = image.getexif().get(_TURNED, 1) != 1
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable(f"the picture is broken: {error}") from error
    return None if turned else Picture(type_, *image.size, path.read_bytes())
