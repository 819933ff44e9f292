"""IP-Adapter FaceID (h94/IP-Adapter-FaceID): a face by an adapter with a LoRA and face models of its own.

Another way to the same end as InstantID, to compare with. Nothing of it is loaded before a request asks for it, and
the next one that does not takes its adapter out again.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.models.embeddings import IPAdapterFaceIDImageProjection
from PIL import Image

from . import branches
from .acceleration import Plan
from .adapter_file import check_faceid_fit, read_faceid_adapter
from .branches import Branch, Source
from .bundles import FACEID_PARTS, Bundle
from .errors import BundleError, NoFaceFound
from .faces import ATTEMPTS, FaceFinder, find_face, load_finder
from .images import open_image
from .people import Photo
from .placing import assigned
from .request import Request


class FaceID:
    """Reads the person of a request for the adapter. The face models are loaded at the first one, and stay.

    Args:
        pipeline: that the adapter lies in while a request asks for it; see `use`.
    """

    def __init__(self, bundle: Bundle, pipeline: DiffusionPipeline):
        self._bundle = bundle
        self._pipeline = pipeline
        self._finder: FaceFinder | None = None

    def branch(self, request: Request, plan: Plan, finder: FaceFinder | None) -> Branch:
        """What the adapter adds, everywhere in the picture.

        Args:
            finder: the bundle's face model, which says whose face of a photo is meant.

        Raises:
            BundleError: the face models cannot be loaded, or do not belong to the adapter.
            NoFaceFound: they see no face where the bundle's own do.
        """
        if self._finder is None:
            self._finder = load_finder(
                self._bundle.faceid_faces.kind,
                self._bundle.require("faceid_faces"),
                gpu=plan.spare_device.type == "cuda",
            )
        width = _projector(self._pipeline).ff.net[0].proj.in_features
        if self._finder.dimension != width:
            raise BundleError(
                f"The bundle's FaceID face models give {self._finder.dimension} numbers for a face, its FaceID "
                f"adapter reads {width}: they do not belong together. The published ip-adapter-faceid_sdxl.bin goes "
                "with insightface's buffalo_l (512)."
            )
        photos = request.people[0].references
        read = np.mean([self._read(photo, finder) for photo in photos], axis=0, dtype=np.float64)
        embedding = torch.from_numpy(_unit(read)).float()
        return Branch([Source(embedding, request.faceid_strength)], width)

    def _read(self, reference: Photo, finder: FaceFinder | None) -> np.ndarray:
        """(d,), of length 1: as the adapter was trained, unlike InstantID's."""
        photo = open_image(reference.image)
        name = "the face photo" if isinstance(reference.image, Image.Image) else f"“{reference.image.name}”"
        # Two models need not list the faces of a photo in the same order: the place tells which is meant.
        meant = find_face(finder, photo, number=reference.face, name=name)
        [face] = assigned(self._finder.recall(photo), [meant])
        if face is None:
            raise NoFaceFound(
                f"FaceID's own face models do not see the face in {name} that the bundle's see. A photo of a face "
                "turned towards the camera, with some room around the head, works best; or set faceid_strength to 0.",
                tuple(str(attempt) for attempt in ATTEMPTS),
            )
        return _unit(face.embedding)


def is_asked(request: Request) -> bool:
    """Whether the request uses FaceID: strength 0 is off, and needs nothing of the bundle."""
    return request.faceid_strength > 0


def check_bundle(bundle: Bundle) -> None:
    """See that the bundle has what FaceID needs.

    Raises:
        BundleError: it names no adapter or no face models for it.
        DownloadError: they have not been fetched.
    """
    if lacking := [part for part in FACEID_PARTS if not bundle.has(part)]:
        raise BundleError(
            f"The bundle “{bundle.name}” has no IP-Adapter FaceID: its bundle.json names no "
            f"{' and no '.join(lacking)}. Add them, such as “h94/IP-Adapter-FaceID/ip-adapter-faceid_sdxl.bin” and "
            "insightface's buffalo_l for an SDXL base, and fetch them with: "
            f"{bundle.fetch_command()}. Or set faceid_strength to 0."
        )
    for part in FACEID_PARTS:
        bundle.require(part)


def use(pipeline: DiffusionPipeline, adapter: Path | None) -> None:
    """Have this adapter in the pipeline, behind those that stay, or none; its LoRA is `tuning`'s to lay.

    Raises:
        BundleError: the file cannot be read, is no such adapter, or does not fit the pipeline's UNet.
    """
    there = _projector(pipeline) is not None
    if there and adapter is None:
        branches.remove(pipeline)
    elif adapter is not None and not there:
        weights = read_faceid_adapter(adapter)
        check_faceid_fit(weights, pipeline.unet, adapter)
        branches.add(pipeline, weights)


def _projector(pipeline: DiffusionPipeline) -> IPAdapterFaceIDImageProjection | None:
    last = pipeline.unet.encoder_hid_proj.image_projection_layers[-1]
    return last if isinstance(last, IPAdapterFaceIDImageProjection) else None


def _unit(embedding: np.ndarray) -> np.ndarray:
    return embedding / np.linalg.norm(embedding)
