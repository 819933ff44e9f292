"""What can be refused before models are loaded, which takes minutes with large weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import dotted
from ..people import Photo
from ..request import Request

KINDS = {"base": "checkpoints", "vae": "vaes", "loras": "loras", "textual_inversions": "embeddings"}


def refuse_early(
    request: Request, presets: Mapping[str, Any], models: Sequence[Path], *, faces: bool = True
) -> None:
    """Refuse a style that is unknown, a picture that cannot be opened, weights that are not here or unsafe.

    Args:
        faces: also look at the photos of people.
    """
    from ..images import open_image
    from ..library import Library
    from ..styles import find_style

    if request.style is not None:
        find_style(presets, request.style)
    settings, pictures = dotted.take_apart(request)
    for name, picture in pictures.items():
        if isinstance(picture, Photo) and (faces or ".references." not in name):
            open_image(picture.image)
    library = Library(models)  # refuses folders that are not there
    for name, source in dotted.weights(settings):
        library.find(KINDS[name.split(".")[0]], source)
