"""The `identity` stage: InstantID's two ways in, learned together while the UNet stays as it is (2401.07519, 3.4).

The image adapter attends to tokens of a face embedding; IdentityNet sees five keypoints, and the tokens in place of
the text. Mini, for want of time, may let the UNet learn along: then some batches see no face, and keep it a base.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from .. import branches, bundles
from ..adapter_file import StateDict
from ..errors import InvalidRequest
from ..identity import IdentityNet
from .adapters import (
    attention_like_text,
    fitting_adapter,
    fresh_projector,
    learn_adapter,
    plain_unet,
    published,
)
from .base import drawn_caption
from .beginnings import begin_controlnet
from .bundle_file import name_part
from .caption_foretelling import CaptionForetelling
from .conditions import Conditions, twice, without_text
from .denoising import STRONGEST, Denoiser
from .face_code import FaceCode
from .face_conditions import inside_faces, led, with_faces
from .face_regression import photos
from .foretelling import Foretelling
from .identity_options import NET_ALONE, Options
from .loop import Figures
from .map_conditions import ALL_KINDS, MapConditions, part_of
from .prepared import Prepared, some_of
from .sheets import lay_out
from .shown_faces import ShownFaces
from .starts import write_base
from .tempering import FEW, temper

ADAPTER = "ip-adapter.bin"
NET = "ControlNetModel"


class IdentityTask(nn.Module):
    """Learns to paint a given face where its keypoints are.

    Args:
        bundle: whose base stays, and whose adapter gives the projector's start.
        chosen: which pictures of `prepared` to learn from; those without a face are left out.
        shown: whose faces and captions the sample sheet paints.
    """

    name = "identity"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        denoiser = self.denoiser = Denoiser(bundle, faces=not options.fresh)
        for option in ("foretold", "worded", "mapped"):
            if getattr(options, option):
                denoiser.require_velocity(option)
        weights = _adapter(bundle, denoiser, prepared, options)
        if options.fresh:
            denoiser.identitynet = begin_controlnet(denoiser.unet, denoiser.vae, IdentityNet)
        self.guide = None
        if options.guided:
            fresh = not bundles.open_bundle(bundle).has(part_of(ALL_KINDS))
            if options.mapped and fresh:
                raise InvalidRequest(
                    "mapped teaches what the Union ControlNet foretells, and this bundle has none: train the drawing "
                    "stage first."
                )
            self.guide = MapConditions(bundle, denoiser, prepared, ALL_KINDS, fresh=fresh)
        branches.attach(denoiser.pipeline, [weights])
        denoiser.requires_grad_(False)
        denoiser.identitynet.requires_grad_(not options.placed)
        learn_adapter(denoiser.unet)
        if options.with_base:
            denoiser.unet.requires_grad_(True)
            denoiser.text_encoder.requires_grad_(options.text_encoder)
        if options.placed:
            denoiser.unet.encoder_hid_proj.requires_grad_(False)
        self._prepared, self._options, self._shown = prepared, options, shown
        self.faces = ShownFaces(prepared, options.other_view, options.references)
        self._chosen = chosen[prepared.found[chosen]]
        self._foretelling = self._code = None
        if options.foretold or options.told:
            self._foretelling = Foretelling(prepared, chosen, denoiser.encode)
        self._by_caption = CaptionForetelling(prepared, chosen) if options.worded else None
        if options.told:
            self._code = FaceCode(
                denoiser.identitynet, self._foretelling, prepared.embeddings, photos(prepared, chosen)
            )
        self.tend()

    def tend(self) -> None:
        """Temper attention, if asked to."""
        nets = [self.denoiser.identitynet, self.denoiser.unet]
        if self.guide:
            nets.append(self.guide.net)
        temper(nets, self._make_some, self._options.tempered)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The denoising loss of these pictures, each told whose face is where."""
        return self._denoised(indices, self._strengths())

    def _strengths(self) -> tuple[float, float]:
        """Of adapter and IdentityNet in a batch. Drawn for all of it, and so alike in all processes."""
        if self._options.with_base and random.random() < self._options.plain:
            return 0.0, 0.0
        alone = self._options.adapter_alone
        [both] = random.choices(
            [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)], [1 - alone - NET_ALONE, alone, NET_ALONE]
        )
        return both

    def _denoised(self, indices: Sequence[int], strengths: tuple[float, float]) -> Figures:
        chosen, denoiser, options = self._chosen[list(indices)], self.denoiser, self._options
        plain = strengths == (0, 0)
        if random.random() < options.mapped:
            return self._mapped(chosen, strengths)
        if random.random() < options.worded:
            return self._worded(chosen, strengths)
        if not plain and random.random() < options.foretold:
            return self._foretold(chosen, strengths)
        latents, given, _ = self._told(chosen, strengths)
        where = (
            None if plain else 1 + (options.face_weight - 1) * inside_faces(self._prepared, chosen, latents)
        )
        return {"loss": denoiser.loss(latents, given, options, where)}

    def _told(
        self, chosen: np.ndarray, strengths: tuple[float, float]
    ) -> tuple[torch.Tensor, Conditions, list[str]]:
        """Pictures' latents, what the UNet is told of them, and in which words."""
        denoiser, options, (adapter, net) = self.denoiser, self._options, strengths
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(denoiser.unet.device)
        device, b = latents.device, len(chosen)
        records = [self._prepared.records[i] for i in chosen]
        captions = [drawn_caption(record) for record in records]
        conditions = denoiser.read(captions, records)
        neither = torch.rand(b, device=device) < options.drop_both
        without = neither | (torch.rand(b, device=device) < options.drop_text)
        conditions = without_text(conditions, denoiser.read([""]), without)
        faces = self.faces.embeddings(chosen).to(device)
        faces = faces * ~(neither | (torch.rand(b, device=device) < options.drop_face))[:, None]
        self._attend(adapter)
        told = net > 0 and random.random() < options.told
        given = with_faces(denoiser, self._prepared, conditions, faces, chosen, net=net > 0 and not told)
        if told:
            given = self._in_its_place(given, *self._foretelling.latents(chosen, faces.cpu().numpy()))
        if random.random() < options.guided:
            given = self.guide.guided(given, chosen, self.guide.drawn(chosen), vary=True)
        heard = ["" if left_out else text for left_out, text in zip(without.tolist(), captions, strict=True)]
        return latents, given, heard

    def _foretold(self, chosen: np.ndarray, strengths: tuple[float, float]) -> Figures:
        """The error of what is made of noise: beside that of each face, how far two faces in the same place
        differ otherwise than they should. What all faces have in common, most of the error, is no part of that."""
        denoiser, options = self.denoiser, self._options
        once = np.array([self.faces.photo_of(i) for i in chosen[: -(-len(chosen) // 2)]])
        chosen, n = np.concatenate([once, once]), len(once)
        records = [self._prepared.records[i] for i in once]
        conditions = denoiser.read([drawn_caption(record) for record in records], records)
        # Words are of the first face only, and of hair and clothes that are not looked at here.
        without = torch.rand(n, device=denoiser.unet.device) < 0.5
        conditions = twice(without_text(conditions, denoiser.read([""]), without))
        faces = self.faces.embeddings(np.concatenate([once, np.roll(once, 1)]))
        faces = faces * (torch.rand(2 * n, 1) >= options.drop_face)
        latents, where = self._foretelling.latents(chosen, faces.numpy())
        device = denoiser.unet.device
        latents, where, faces = latents.to(device), where.to(device), faces.to(device)
        adapter, net = strengths
        self._attend(adapter)
        told = net > 0 and random.random() < options.told
        given = with_faces(denoiser, self._prepared, conditions, faces, chosen, net=net > 0 and not told)
        if told:
            given = self._in_its_place(given, latents, where)
        strongest = 1.0 if random.random() < options.soft else STRONGEST
        error, apart = denoiser.compared(latents, where, given, strongest)
        return {"loss": error + apart, "apart": apart}

    def _worded(self, chosen: np.ndarray, strengths: tuple[float, float]) -> Figures:
        """As `_foretold`, for captions: two for each face in its place, or for nobody's; what lies in the face is the
        face's to say."""
        denoiser, (adapter, net) = self.denoiser, strengths
        device, once = denoiser.unet.device, chosen[: -(-len(chosen) // 2)]
        both = np.concatenate([once, once])
        captions = [drawn_caption(self._prepared.records[i]) for i in once]
        captions += [*captions[-1:], *captions[:-1]]
        latents = self._by_caption.latents(captions, both if net else None).to(device)
        faces = self.faces.embeddings(once).to(device).repeat(2, 1)
        self._attend(adapter)
        given = with_faces(denoiser, self._prepared, denoiser.read(captions), faces, both, net=net > 0)
        where = torch.ones_like(latents[:, :1])
        if any(strengths):
            where = where - inside_faces(self._prepared, both, latents)
        error, apart = denoiser.compared(latents, where, given)
        return {"loss": error + apart, "words": apart}

    def _mapped(self, chosen: np.ndarray, strengths: tuple[float, float]) -> Figures:
        """As `_foretold`, for maps: two pictures' in the same noise, and neither faces nor words. The net only speaks
        here: if it learned, too, it would come to say what is easily heard."""
        denoiser, n = self.denoiser, 2 * -(-len(chosen) // 2)
        device, both = denoiser.unet.device, np.resize(chosen, n)
        nobody = torch.zeros(n, self._prepared.embeddings.shape[1], device=device)
        self._attend(strengths[0])
        conditions = with_faces(denoiser, self._prepared, denoiser.read([""] * n), nobody, both, net=False)
        kinds = self.guide.drawn(both)
        speak = torch.no_grad()(self.guide.guided(conditions, both, kinds).residuals)
        given = replace(conditions, residuals=speak)
        with torch.no_grad():
            at = denoiser.timesteps(n, STRONGEST).to(device)
            noise = torch.randn(n, denoiser.unet.config.in_channels, denoiser.side, denoiser.side).to(device)
            said = self.guide.say(denoiser, conditions, both, kinds, noise, at)
            latents = self.guide.code.latents_of(said)
        error, apart = denoiser.compared(latents, torch.ones_like(latents[:, :1]), given)
        return {"loss": error + apart, "maps": apart}

    def sheet(self) -> Image.Image:
        """The pictures; below, their people painted with adapter and IdentityNet, with one of them, with none; and
        with both and all maps."""
        records = [self._prepared.records[i] for i in self._shown]
        texts = [record["captions"].get("terse", record["caption"]) for record in records]
        faces = torch.from_numpy(self._prepared.embeddings[self._shown]).to(self.denoiser.unet.device)
        who = (self._prepared, self.denoiser.read(texts), faces, self._shown)
        rows = [*self._prepared.images(self._shown)]
        for adapter, net in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
            self._attend(adapter)
            given, against = led(self.denoiser, *who, net=net > 0)
            rows += [*self._paint(given, against)]
        self._attend(1.0)
        if self.guide:
            every = [self.guide.kinds_of(i) for i in self._shown]
            given, against = (
                self.guide.guided(each, self._shown, every) for each in led(self.denoiser, *who)
            )
            rows += [*self._paint(given, against)]
        return lay_out(rows, columns=len(texts))

    def _paint(self, given: Conditions, against: Conditions) -> np.ndarray:
        """As the sheet shows it."""
        return self.denoiser.paint(given, against)

    def save(self, bundle: Path) -> None:
        """Write ip-adapter.bin and ControlNetModel; with the base, also base/unet and base/text_encoder;
        where maps were shown, controlnets/union."""
        denoiser = self.denoiser
        fresh = self._options.fresh
        torch.save(published(denoiser.unet), bundle / ADAPTER)
        name_part(bundle, "identity_adapter", ADAPTER, began_as="base" if fresh else "identity_adapter")
        denoiser.identitynet.save_pretrained(bundle / NET)
        name_part(bundle, "identitynet", NET, began_as="base" if fresh else "identitynet")
        if self._options.with_base:
            models = {"unet": plain_unet(denoiser.unet)}
            if self._options.text_encoder:
                models["text_encoder"] = denoiser.text_encoder
            write_base(bundle, models)
        if self.guide:
            self.guide.save(bundle)

    def _make_some(self) -> None:
        chosen = some_of(self._chosen, FEW)
        latents, given, _ = self._told(chosen, (1.0, 1.0))
        if self.guide:
            given = self.guide.guided(given, chosen, self.guide.drawn(chosen))
        self.denoiser.loss(latents, given, self._options)

    def _in_its_place(self, given: Conditions, latents: torch.Tensor, inside: torch.Tensor) -> Conditions:
        """The conditions with what is foretold, in place of what IdentityNet says."""
        device = self.denoiser.unet.device
        residuals = self._code.residuals(self._code.of(latents.to(device), inside.to(device)))
        return replace(given, residuals=lambda *_: residuals)

    def _attend(self, strength: float) -> None:
        self.denoiser.pipeline.set_ip_adapter_scale(strength)


def _adapter(bundle: Path, denoiser: Denoiser, prepared: Prepared, options: Options) -> StateDict:
    """What the image adapter begins with."""
    if options.fresh and options.projector:
        length = prepared.embeddings.shape[1]
        width = denoiser.unet.config.cross_attention_dim
        projector = fresh_projector(length, width, inner=options.projector)
        return {"image_proj": projector, "ip_adapter": attention_like_text(denoiser.unet)}
    return fitting_adapter(bundle, denoiser.unet, prepared, anew=options.fresh)
