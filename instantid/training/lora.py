"""The `lora` stage: one person by tuning, as DreamBooth has it (Ruiz et al. 2022, 2208.12242), into a LoRA.

What InstantID is measured against: minutes of training for each new person, and no face embedding at all. The file
goes over any base of the same kind, in the engine as in diffusers.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from pydantic import Field
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from ..errors import InvalidRequest
from .base import drawn_caption
from .denoising import Denoiser, Noise
from .loop import Figures
from .people.looks import PHOTO
from .prepared import Prepared
from .settings import Count
from .sheets import lay_out

# As diffusers' train_dreambooth_lora_sdxl has them.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
CAPTION = "{caption}"
Tuned = UNet2DConditionModel | PreTrainedModel


class Options(Noise):
    """Of the LoRA stage."""

    name: str = Field(
        "person", pattern=r"^[\w-]+$", description="Of the file, in the bundle's folder “loras”."
    )
    persons: tuple[int, ...] = Field((), description="Numbers of whom to learn; none: everybody in the data.")
    photos: int = Field(5, ge=0, description="At most so many pictures of each; 0: all there are.")
    look: str = Field(PHOTO, description="Only pictures of this look are learned from; empty: of any.")
    prompt: str = Field(
        "a photo of sks person", description=f"What calls the person; {CAPTION} stands for the picture's own."
    )
    class_prompt: str = Field("a photo of a person", description="The same about the other people.")
    prior: float = Field(
        1.0, ge=0, description="Weight of other people's pictures, which keep “a person” anybody; 0: none."
    )
    rank: Count = 4
    alpha: float | None = Field(
        None, gt=0, description="What is learned counts alpha / rank times; the rank unless given."
    )
    text_encoders: bool = Field(False, description="Tune both text encoders too.")


class LoraTask(nn.Module):
    """Learns to paint one person, or a few, whenever a prompt calls them.

    Args:
        bundle: whose base the LoRA goes over; nothing else of it changes.
        chosen: pictures of `prepared`; those of people who are not learned preserve the prior.
        shown: not looked at: the sample sheet shows whom it learns.

    Raises:
        InvalidRequest: there is no picture to learn from, or nobody else for the prior.
    """

    name = "lora"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        self._prepared, self._options = prepared, options
        self._chosen, self._others = _told_apart(prepared, chosen, options)
        self.denoiser = Denoiser(bundle)
        self._tuned: dict[str, Tuned] = {"unet": self.denoiser.unet}
        lay_lora(self.denoiser.unet, ATTENTION, options.rank, options.alpha)
        if options.text_encoders:
            for name in ("text_encoder", "text_encoder_2"):
                self._tuned[name] = getattr(self.denoiser, name)
                lay_lora(self._tuned[name], TEXT_ATTENTION, options.rank, options.alpha)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The denoising loss of these pictures, and of as many of other people."""
        own = self._loss(self._chosen[list(indices)], self._options.prompt)
        if not self._options.prior:
            return {"loss": own}
        others = self._others[torch.randint(len(self._others), (len(indices),)).numpy()]
        prior = self._loss(others, self._options.class_prompt)
        return {"loss": own + self._options.prior * prior, "own": own, "prior": prior}

    def sheet(self) -> Image.Image:
        """Photos; below, what calls the person painted with the LoRA, and from the same noise without it."""
        photos = self._chosen[:8]
        told = self.denoiser.read(self._texts(photos, self._options.prompt))
        against = self.denoiser.read([""] * len(photos))
        painted = self.denoiser.paint(told, against)
        with without_lora(*self._tuned.values()):
            told = self.denoiser.read(self._texts(photos, self._options.prompt))
            before = self.denoiser.paint(told, self.denoiser.read([""] * len(photos)))
        return lay_out([*self._prepared.images(photos), *painted, *before], columns=len(photos))

    def save(self, bundle: Path) -> None:
        """Write loras/NAME.safetensors."""
        write_lora(bundle / "loras" / f"{self._options.name}.safetensors", self._tuned)

    def _loss(self, chosen: np.ndarray, prompt: str) -> torch.Tensor:
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(self.denoiser.unet.device)
        records = [self._prepared.records[i] for i in chosen]
        told = self.denoiser.read(self._texts(chosen, prompt), records)
        return self.denoiser.loss(latents, told, self._options)

    def _texts(self, chosen: np.ndarray, prompt: str) -> list[str]:
        if CAPTION not in prompt:
            return [prompt] * len(chosen)
        return [prompt.replace(CAPTION, drawn_caption(self._prepared.records[i])) for i in chosen]


def lay_lora(model: Tuned, targets: Sequence[str], rank: int, alpha: float | None = None) -> None:
    """Lay a new LoRA over a model's layers of those names; it alone learns, and begins at nothing.

    Args:
        alpha: None: as the rank.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        target_modules=list(targets),
        init_lora_weights="gaussian",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a run that begins anew begins the same
        model.add_adapter(config)


@contextmanager
def without_lora(*models: Tuned) -> Iterator[None]:
    """The models as they were before `lay_lora`. What is computed inside cannot be learned from."""
    for model in models:
        model.disable_adapters()
    try:
        with torch.no_grad():
            yield
    finally:
        for model in models:
            model.enable_adapters()


def write_lora(file: Path, models: Mapping[str, Tuned]) -> None:
    """Write what lies over models as one file in diffusers' naming and half precision; whole, or not at all.

    Alphas are multiplied in: readers do not agree on where a file tells them.

    Args:
        models: by their names in the pipeline.
    """
    tensors = {}
    for component, model in models.items():
        config = model.peft_config["default"]
        for name, tensor in get_peft_model_state_dict(model).items():
            if ".lora_B." in name:
                tensor = tensor * (config.lora_alpha / config.r)
            if component != "unet" and not name.startswith("text_model."):
                name = f"text_model.{name}"  # a level that transformers 5 has dropped, and files keep
            tensors[f"{component}.{name}"] = tensor.detach().half().cpu().contiguous()
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    save_file(tensors, part, {"format": "pt"})
    os.replace(part, file)


def _told_apart(prepared: Prepared, chosen: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """The pictures of whom is learned, and of everybody else among the chosen."""
    fitting = np.array([options.look in ("", record.get("look", PHOTO)) for record in prepared.records])
    persons = options.persons or np.unique(prepared.persons[chosen]).tolist()
    own = []
    for person in persons:
        pictures = prepared.of_person(person)
        pictures = pictures[fitting[pictures]][: options.photos or None]
        if options.persons and not len(pictures):
            raise InvalidRequest(
                f"{prepared.folder} has no picture of person {person} in which a face was found and whose look is "
                f"“{options.look or 'any'}”. Name others in persons, or leave look empty."
            )
        own.append(pictures)
    others = chosen[fitting[chosen] & ~np.isin(prepared.persons[chosen], persons)]
    if options.prior and not len(others):
        raise InvalidRequest(
            "There is nobody else in the data who could preserve the prior. Name whom to learn in persons, or set "
            "prior to 0."
        )
    return np.concatenate(own), others
