"""The `twins` stage: a small UNet learns what words change, from pictures that differ in nothing else.

From pictures alone it hardly learns words: in each of them most is by chance. Of twins (`people/twins.py`: one scene
with other hair, clothes and surroundings) two are made out of the same noise, in which nothing is decided yet; how
they differ should be how the pictures do, and mostly how such may be foretold to differ (`twin_foretelling`), which
leaves chance out; in presets, as their looks turn that (`look_turning`). That is a mean of much, and pale: so a
classifier that learns along also reads in it what captions tell (`thing_reader`). All else is to stay as it was: what
both have in common, other captions, presets, the last steps, what maps lead; its teacher is the UNet from before.
"""

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import nn

from .. import branches, bundles
from ..errors import InvalidRequest
from .adapters import fitting_adapter, is_adapters, plain_unet
from .adversarial import GUIDANCE, STEPS, made_until
from .base import full_caption
from .conditions import Conditions
from .denoising import LEAST_APART, Denoiser
from .face_conditions import inside_faces, led, with_faces
from .look_turning import LookTurning
from .loop import Figures
from .map_conditions import ALL_KINDS, Kinds, MapConditions, part_of
from .prepared import Prepared, some_of
from .sheets import lay_out
from .shown_faces import ShownFaces
from .starts import write_base
from .tempering import FEW, temper
from .text_reading import TextReader
from .thing_reader import ThingReader
from .twin_captions import TwinCaptions
from .twin_foretelling import TwinForetelling
from .twin_options import Options
from .twin_pairs import scenes_of, twins_of

STRENGTHS = {(1.0, 1.0): 0.7, (1.0, 0.0): 0.1, (0.0, 1.0): 0.1, (0.0, 0.0): 0.1}  # of adapter and IdentityNet
UNION = part_of(ALL_KINDS)
MEASURED = 1000  # twins that tell how far such differ


class TwinsTask(nn.Module):
    """Learns to change what words change.

    Args:
        bundle: whose UNet learns; IdentityNet and adapter stay, and are heard as they were.
        chosen: which pictures of `prepared` to learn from: the twins among them whose face was found.
        shown: whose captions the sample sheet paints.

    Raises:
        InvalidRequest: there are no twins, or no looks or Union net where options ask for such; the teacher is built
            otherwise; or the base predicts the noise.
    """

    name = "twins"
    stays = ("before.", "read_before.")
    paces: ClassVar = {"denoiser.text_encoder.": 4.0, "reader.": 2.0}

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        denoiser = self.denoiser = Denoiser(bundle, faces=True)
        denoiser.require_velocity()
        self._prepared, self._options = prepared, options
        branches.attach(denoiser.pipeline, [fitting_adapter(bundle, denoiser.unet, prepared)])
        denoiser.requires_grad_(False)
        self.before, self.read_before = copy.deepcopy(denoiser.unet), copy.deepcopy(denoiser.text_encoder)
        if options.teacher:
            self._learn_from(Denoiser(Path(options.teacher)))
        for name, parameter in denoiser.unet.named_parameters():
            parameter.requires_grad_(not is_adapters(name))
        self._reader_before = TextReader(denoiser.pipeline.tokenizer, self.read_before)
        # What it makes of “a blue wall” is much like what it makes of “a blue dress”; the UNet alone learns slowly.
        denoiser.text_encoder.requires_grad_(True)
        self._faces = ShownFaces(prepared, options.other_view, references=4)
        self._twins, self._shown = twins_of(prepared, chosen), scenes_of(prepared, shown)
        if not len(self._twins):
            raise InvalidRequest(
                f"{prepared.folder} holds no twins, of which this stage learns words. Make some: "
                "python -m instantid data make FOLDER --twins, then prepare them."
            )
        self._captions = TwinCaptions(prepared.records, options)
        self._foretelling = TwinForetelling(prepared, self._twins)
        self._turning = LookTurning(prepared, chosen, self._faces.photo_of)
        if options.presets and not self._turning:
            raise InvalidRequest(
                f"{prepared.folder} shows no scene in the looks of presets, in which words are to do something, too. "
                "Make data with --looks 1, or set presets: 0."
            )
        self._guide = self._open_guide(bundle) if options.mapped else None
        self.reader = None
        if options.read:
            twin_scenes = np.array([i for i in chosen.tolist() if "twin" in prepared.records[i]])
            self.reader = ThingReader(denoiser, prepared, twin_scenes)
        some = some_of(self._twins, MEASURED)
        differing = self._apart(some)
        foretold = self._foretelling.apart(some, [self._captions.in_full(pair) for pair in some])
        spread = differing.square().mean(dim=(0, 2, 3)) + LEAST_APART
        self.register_buffer("_spread", spread[:, None, None], persistent=False)
        # Words tell of brightness and colours, where twins differ most: not of what is fine, where all is by chance.
        self._usual = {"twins": spread, "words": foretold.square()}
        if options.presets:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # a run that goes on measures the same
                self._usual["styled"] = self._in_presets(some)[1].square()
        self._usual = {kind: float(size.mean()) + LEAST_APART for kind, size in self._usual.items()}
        self.tend()

    def _open_guide(self, bundle: Path) -> MapConditions:
        if not bundles.open_bundle(bundle).has(UNION):
            raise InvalidRequest(
                f"{bundle} has no Union ControlNet, by which maps lead what is to stay as it was. Set mapped: 0, or "
                "begin with a bundle that has one."
            )
        guide = MapConditions(bundle, self.denoiser, self._prepared, ALL_KINDS, fresh=False)
        return guide.requires_grad_(False)

    def _learn_from(self, teacher: Denoiser) -> None:
        """Keep what this one makes; adapters stay those of the bundle that learns."""
        own = {name: weights for name, weights in self.before.state_dict().items() if is_adapters(name)}
        try:
            self.before.load_state_dict(teacher.unet.state_dict() | own)
            self.read_before.load_state_dict(teacher.text_encoder.state_dict())
        except RuntimeError as error:
            raise InvalidRequest(
                f"The teacher {self._options.teacher} is built otherwise than what learns; name a bundle that was "
                "trained from the same beginning, or leave teacher empty."
            ) from error

    def tend(self) -> None:
        """Temper attention, if asked to."""
        few = some_of(self._twins, FEW)
        told = [self._captions.in_full(pair) for pair in few]
        temper([self.denoiser.unet], lambda: self._made_of(few, told, (1.0, 1.0)), self._options.tempered)

    def __len__(self) -> int:
        return len(self._twins)

    def forward(self, indices: Sequence[int]) -> Figures:
        """How far what is made of two captions differs otherwise than it should, or how far from before it makes
        something else; as shares of how far twins differ."""
        [strengths] = random.choices(list(STRENGTHS), list(STRENGTHS.values()))
        pairs = self._twins[list(indices)]
        if random.random() < self._options.kept:
            kept = self._kept(pairs, strengths)
            return {"loss": self._options.keeping * kept, "kept": kept}
        kind = "words"
        if random.random() >= self._options.foretold:
            kind = "twins"
        elif random.random() < self._options.presets:
            kind = "styled"
        if kind == "styled":
            told, wanted = self._in_presets(pairs)
        else:
            told = [self._captions.drawn(pair) for pair in pairs]
            wanted = self._apart(pairs) if kind == "twins" else self._foretelling.apart(pairs, told)
        made, was = self._made_of(pairs, told, strengths)
        wrong, common = self._differing(pairs, made, was, self._options.louder * wanted)
        wrong = wrong / self._usual[kind]
        figures = {"loss": wrong + self._options.keeping * common, kind: wrong, "common": common}
        if self.reader:
            texts = _in_turn(told)
            learned, unheard, read = self.reader(made, pairs.T.ravel(), texts, wrong)
            figures |= read | {"loss": figures["loss"] + learned + self._options.read * unheard}
        return figures

    def _apart(self, pairs: np.ndarray) -> torch.Tensor:
        """(n, c, h, w): how the first of these twins differs from the second."""
        one, other = (torch.from_numpy(self._prepared.latents(some)).float() for some in pairs.T)
        return one - other

    def _in_presets(self, pairs: np.ndarray) -> tuple[list[tuple[str, str]], torch.Tensor]:
        """Brief captions of twins, each two in one preset; and how what they say is foretold to differ there."""
        known = self._turning.looks
        looks = [known[i] for i in torch.randint(len(known), (len(pairs),))]
        brief = [self._captions.brief(pair) for pair in pairs]
        wanted = self._turning.turned(self._foretelling.apart(pairs, brief), looks)
        told = [
            tuple(self._captions.in_preset(caption, look) for caption in two)
            for look, two in zip(looks, brief, strict=True)
        ]
        return told, wanted

    def _made_of(
        self, pairs: np.ndarray, told: Sequence[tuple[str, str]], strengths: tuple[float, float]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is made of the first captions and then of the second ones, (2n, c, h, w), out of the same noise; and
        what was before."""
        n, denoiser = len(pairs), self.denoiser
        texts = _in_turn(told)
        given = self._given(texts, np.tile(pairs[:, 0], 2), strengths)
        shape = (n, denoiser.unet.config.in_channels, denoiser.side, denoiser.side)
        latents = torch.zeros(2 * n, *shape[1:], device=denoiser.unet.device)

        def noise() -> torch.Tensor:
            return torch.randn(shape).to(latents.device).repeat(2, 1, 1, 1)

        drawn, step = noise(), int(random.random() < self._options.second)
        if step:
            timesteps = torch.full((2 * n,), STEPS[0], device=latents.device)
            with torch.no_grad():
                latents = denoiser.made(latents, drawn, timesteps, given)
            drawn = noise()
        return self._made(latents, drawn, STEPS[step], given, texts)

    def _differing(
        self, pairs: np.ndarray, made: torch.Tensor, was: torch.Tensor, wanted: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How far what is made of two captions differs otherwise than is wanted, and how far what both have in common
        moved, as a share of how far twins differ."""
        n = len(pairs)
        moved = (made[:n] + made[n:] - was[:n] - was[n:]) / 2
        wrong = (made[:n] - made[n:] - wanted.to(made.device)).square().mean()
        return wrong, (self._counts(pairs[:, 0], moved) * moved.square() / self._spread).mean()

    def _counts(self, chosen: np.ndarray, latents: torch.Tensor) -> torch.Tensor:
        """(n, 1, h, w): how much each place of these pictures counts where all is to stay as it was."""
        return 1 + (self._options.faces - 1) * inside_faces(self._prepared, chosen, latents)

    def _kept(self, pairs: np.ndarray, strengths: tuple[float, float]) -> torch.Tensor:
        """How far from before it makes something in one of the steps to a picture, by what it made until then."""
        denoiser = self.denoiser
        chosen, step = pairs[:, random.randrange(2)], random.randrange(len(STEPS))
        texts = [self._captions.unchanging(i, last=step > 1) for i in chosen]
        given, maps = self._given(texts, pairs[:, 0], strengths), None
        if self._guide and random.random() < self._options.mapped:
            maps = chosen, self._guide.drawn(chosen)
        if step:
            led_by = given if maps is None else self._guide.guided(given, *maps)
            latents = made_until(step, denoiser, led_by)
        else:
            channels, side = denoiser.unet.config.in_channels, denoiser.side
            latents = torch.zeros(len(pairs), channels, side, side, device=denoiser.unet.device)
        made, was = self._made(latents, torch.randn_like(latents), STEPS[step], given, texts, maps)
        strength = denoiser.strength(torch.tensor([STEPS[step]])).to(latents.device)
        counts = self._counts(pairs[:, 0], made)
        return (counts * (made - was).square() / (strength.square() * self._spread)).mean()

    def _made(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        at: int,
        given: Conditions,
        texts: Sequence[str],
        maps: tuple[np.ndarray, list[Kinds]] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is made of noisy latents now, and what was before. IdentityNet, which stays, speaks once for both; of
        maps, (pictures, kinds), the Union net speaks as it hears the text."""
        denoiser = self.denoiser
        timesteps = torch.full((len(latents),), at, device=latents.device)
        noisy = denoiser.noised(latents, noise, timesteps)
        beside = denoiser.beside(noisy, given)

        def saying(conditions: Conditions) -> Conditions:
            if conditions.residuals is None:
                return conditions
            said = conditions.residuals(noisy, timesteps, beside)
            return replace(conditions, residuals=lambda *_: said)

        with torch.no_grad():
            given = saying(given)
            first, _ = self._reader_before.read(texts)
            before = replace(given, hidden=torch.cat([first, given.hidden[..., first.shape[-1] :]], dim=-1))
            if maps is not None:
                given, before = (saying(self._guide.guided(each, *maps)) for each in (given, before))
            was = denoiser.made(latents, noise, timesteps, before, by=self.before)
        return denoiser.made(latents, noise, timesteps, given), was

    def _given(self, texts: Sequence[str], whose: np.ndarray, strengths: tuple[float, float]) -> Conditions:
        adapter, net = strengths
        self._attend(adapter)
        faces = self._faces.embeddings(whose).to(self.denoiser.unet.device)
        told = self.denoiser.read(texts)
        return with_faces(self.denoiser, self._prepared, told, faces, whose, net=net > 0)

    def _attend(self, strength: float) -> None:
        for unet in (self.denoiser.unet, self.before):
            for processor in unet.attn_processors.values():
                if hasattr(processor, "scale"):
                    processor.scale = [strength]

    def sheet(self) -> Image.Image | None:
        """The first of some twins, the second, and what the captions of both make of one noise."""
        if not len(self._shown):
            return None
        first, second = self._shown.T
        rows = [*self._prepared.images(first), *self._prepared.images(second)]
        self._attend(1.0)
        faces = torch.from_numpy(self._prepared.embeddings[first]).to(self.denoiser.unet.device)
        for chosen in (first, second):
            texts = [full_caption(self._prepared.records[i]) for i in chosen]
            given, against = led(self.denoiser, self._prepared, self.denoiser.read(texts), faces, first)
            rows += [*self.denoiser.paint(given, against, steps=len(STEPS), guidance=GUIDANCE)]
        return lay_out(rows, columns=len(first))

    def save(self, bundle: Path) -> None:
        """Write base/unet and base/text_encoder."""
        denoiser = self.denoiser
        write_base(bundle, {"unet": plain_unet(denoiser.unet), "text_encoder": denoiser.text_encoder})


def _in_turn(told: Sequence[tuple[str, str]]) -> list[str]:
    """The first captions of all, then the second ones."""
    return [text for each in zip(*told, strict=True) for text in each]
