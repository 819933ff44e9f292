"""Brings the parts of a bundle to this machine, and says first what their licences allow."""

from collections.abc import Iterable

from . import downloads
from .bundle import UNSTATED, Bundle
from .face_files import fetch_face_files
from .hub_parts import HubSource

STYLE_PARTS = ("style_adapter", "image_encoder")  # what following a style picture needs
FACEID_PARTS = ("faceid_adapter", "faceid_faces")  # what IP-Adapter FaceID needs
ESSENTIAL = ("base", "identitynet", "identity_adapter", "faces", "vae")


def essential_parts(bundle: Bundle) -> tuple[str, ...]:
    """The parts without which the bundle makes no picture; the others serve some requests only."""
    needed = (*ESSENTIAL, "base_config") if bundle.is_single_file("base") else ESSENTIAL
    return tuple(part for part in needed if bundle.has(part))


def licence_notice(bundle: Bundle, parts: Iterable[str] | None = None) -> str:
    """What the licences of a bundle's parts (None: all) allow, to be shown before the first fetch."""
    lines = [f"The parts of the bundle “{bundle.name}” belong to their publishers:"]
    lines += [
        f"- {part} ({source}): {bundle.licences.get(part, UNSTATED)}"
        for part, source in bundle.sources.items()
        if parts is None or part in parts
    ]
    return "\n".join(lines)


def fetch(
    bundle: Bundle,
    parts: Iterable[str] | None = None,
    *,
    on_progress: downloads.OnProgress | None = None,
) -> None:
    """Bring parts to this machine; what is here already is checked and left alone.

    Args:
        parts: their names; None: all of them.
        on_progress: called with (part, bytes done, bytes in all); without it, progress bars go to stderr. What it
            raises stops the fetch, which resumes from there next time.

    Raises:
        BundleError: the bundle has no such part, or a local one is missing.
        DownloadError: no network, no space, no permission, no such file, or damaged on the way.
    """
    parts = tuple(bundle.sources if parts is None else parts)
    places = {part: bundle.place(part) for part in parts}
    on_hub = {part: place for part, place in places.items() if isinstance(place, HubSource)}
    downloads.fetch(on_hub, lock=bundle.lock, hub=bundle.hub, on_progress=on_progress)
    for part in filter(bundle.carries_opencv, parts):
        fetch_face_files(places[part], hub=bundle.hub)
    for part in parts:
        bundle.require(part)
