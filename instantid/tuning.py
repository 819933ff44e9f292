"""What is laid over a pipeline's weights for a request, LoRAs and textual inversions, and taken off again exactly."""

import re
import warnings
from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import count
from pathlib import Path

import torch
from diffusers import StableDiffusionXLControlNetPipeline, UNet2DConditionModel
from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading
from diffusers.utils import (
    delete_adapter_layers,
    recurse_remove_peft_layers,
    set_weights_and_activate_adapters,
)
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from torch import nn

from .adapter_file import faceid_lora, read_faceid_adapter
from .errors import InvalidRequest
from .lora_file import LoraWeights, read_lora
from .vocabulary import Vocabulary

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")

_Key = tuple[Path, int, int]


class Tuning:
    """The LoRAs and textual inversions over one pipeline's base model.

    They lie in the UNet and the text encoders, so pipelines built from the same components have them too; the words
    of textual inversions are known to this pipeline's tokenizers alone, so prompts are to be encoded with it.
    """

    def __init__(self, pipeline: StableDiffusionXLControlNetPipeline):
        self._pipeline = pipeline
        self._names = (f"lora_{number}" for number in count())
        self._laid: dict[_Key, tuple[str, str]] = {}  # the name in peft, and what there is to tell
        self._vocabulary = Vocabulary(pipeline)
        self._learned: tuple[_Key, ...] = ()
        self.active: Hashable = ()  # the same while the same weights are in use as strongly

    def use(
        self,
        loras: Sequence[tuple[Path, float]] = (),
        inversions: Sequence[Path] = (),
        adapter: Path | None = None,
    ) -> list[str]:
        """Make exactly these active. What is in place already stays; only strengths are set anew.

        New weights lie where the base model's lie, so placing (`acceleration.place`) comes after this.

        Args:
            loras: files and strengths, each file once. 0 is exactly off: the file is not even read.
            inversions: files, called in prompts by their names; see `Vocabulary`.
            adapter: an IP-Adapter FaceID that fits, whose LoRA is to lie in full, as it was trained.

        Returns:
            What did not go as one might expect, in sentences.

        Raises:
            InvalidRequest: a file cannot be used, or two are in each other's way; the pipeline is as it was.
        """
        strengths = {_key(path): strength for path, strength in loras if strength != 0}
        if len(strengths) < sum(strength != 0 for _, strength in loras):
            raise InvalidRequest(
                "A LoRA is chosen twice. Choose it once, with the strength that it is to have."
            )
        models = {component: getattr(self._pipeline, component) for component in COMPONENTS}
        read = {key: read_lora(key[0], models) for key in strengths if key not in self._laid}
        if adapter is not None:
            strengths[_key(adapter)] = 1.0
            if _key(adapter) not in self._laid:
                read[_key(adapter)] = _lora_of(adapter, models["unet"])
        words = tuple(map(_key, inversions))
        new_words = None if words == self._learned else self._vocabulary.read(inversions)
        try:
            self._lay(strengths, read)
            if new_words is not None:
                self._vocabulary.learn(new_words)
                self._learned = words
        except BaseException:  # half a change is none: memory may have run out on the way
            self.clear()
            raise
        self.active = (tuple(strengths.items()), words)
        return [note for _, note in self._laid.values() if note]

    def clear(self) -> None:
        """Take everything off: the pipeline is as it was before."""
        self._vocabulary.forget()
        self._learned = ()
        self._lay({}, {})
        self.active = ()

    def unused(self, *prompts: str) -> list[str]:
        """The embeddings in use that none of the prompts calls, in sentences."""
        return [
            f"The embedding “{word}” is chosen but called by neither prompt: write its name where it is to act."
            for word in self._vocabulary.unused(*prompts)
        ]

    def _lay(self, strengths: Mapping[_Key, float], read: Mapping[_Key, LoraWeights]) -> None:
        """Bring the LoRAs to those of `strengths`; `read` are those among them that are not in place yet."""
        staying = {key: laid for key, laid in self._laid.items() if key in strengths}
        coming = {key: (next(self._names), lora.note) for key, lora in read.items()}
        changes = staying.keys() != self._laid.keys() or bool(coming)
        self._laid = staying | coming
        for component in COMPONENTS:
            model = getattr(self._pipeline, component)
            if changes:
                _strip(model, keep={name for name, _ in staying.values()})
                for key, lora in read.items():
                    if component in lora.parts:
                        _inject(model, coming[key][0], lora.parts[component])
                # Its hooks hold on to the layers that they were made for.
                _maybe_remove_and_reapply_group_offloading(model)
            present = getattr(model, "peft_config", {})
            active = {self._laid[key][0]: strength for key, strength in strengths.items()}
            active = {name: strength for name, strength in active.items() if name in present}
            if active:
                set_weights_and_activate_adapters(model, list(active), list(active.values()))


def _lora_of(adapter: Path, unet: UNet2DConditionModel) -> LoraWeights:
    lora = faceid_lora(read_faceid_adapter(adapter), unet)
    return LoraWeights(parts={"unet": lora} if lora else {}, note="")


def _key(path: Path) -> _Key:
    """A file as it is now: written anew, it is another. Never resolved: the hub's cache links to nameless files."""
    path = Path(path).absolute()
    try:
        status = path.stat()
    except OSError:
        return path, 0, 0  # reading it says what is wrong
    return path, status.st_mtime_ns, status.st_size


def _inject(model: nn.Module, name: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Lay one LoRA over a model, in the model's precision."""
    dtype = next(model.parameters()).dtype
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    ranks = {
        key.removesuffix(".lora_A.weight"): len(down) for key, down in weights.items() if ".lora_A." in key
    }
    # One pattern for all modules of a rank: peft tries them in turn on every module.
    modules: dict[int, list[str]] = {}
    for module, rank in ranks.items():
        modules.setdefault(rank, []).append(re.escape(module))
    patterns = {f"^({'|'.join(those)})": rank for rank, those in modules.items()}
    config = LoraConfig(  # with alpha and rank alike, the strength alone scales
        rank_pattern=patterns, alpha_pattern=patterns, target_modules=list(ranks), inference_mode=True
    )
    state = {key: weight.to(dtype) for key, weight in weights.items()}
    try:
        with warnings.catch_warnings():  # of several adapters, which is what is meant here
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            inject_adapter_in_model(
                config, model, adapter_name=name, low_cpu_mem_usage=True, state_dict=state
            )
        set_peft_model_state_dict(model, state, adapter_name=name, low_cpu_mem_usage=True)
    finally:
        for weight in trainable:  # peft freezes what it is laid over
            weight.requires_grad_(True)


def _strip(model: nn.Module, keep: Collection[str]) -> None:
    """Take LoRAs off a model; with the last one go the layers that peft put around the model's own."""
    present = set(getattr(model, "peft_config", {}))
    if present and not present & keep:
        recurse_remove_peft_layers(model)
        del model.peft_config
    else:
        for name in present - keep:
            delete_adapter_layers(model, name)
            model.peft_config.pop(name, None)
