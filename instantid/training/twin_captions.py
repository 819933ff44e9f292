"""Which captions twins are painted by: their own, in brief or in full, in presets; and such as change nothing."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..styles import NO_STYLE, load_styles
from .base import full_caption
from .things import phrases_of
from .twin_options import Options

SPOKEN_OF = 0.4  # how often brief captions say something of hair, of the place and so on
WITH = ("hair", "glasses")  # what one is “with”


class TwinCaptions:
    """Draws captions.

    Args:
        records: of all pictures, by number.
    """

    def __init__(self, records: Sequence[Mapping], options: Options):
        self._records, self._options = records, options
        self._presets = {name: style for name, style in load_styles().items() if name != NO_STYLE}

    def in_full(self, pair: np.ndarray) -> tuple[str, str]:
        """What two captions say at their longest."""
        one, other = (full_caption(self._records[i]) for i in pair)
        return one, other

    def brief(self, pair: np.ndarray) -> tuple[str, str]:
        """Some of what there is to be said of each of two."""
        one, other = (brief_caption(self._records[i]) for i in pair)
        return one, other

    def drawn(self, pair: np.ndarray) -> tuple[str, str]:
        """Each of the two in brief or in full."""
        one, other = (self._drawn(i) for i in pair)
        return one, other

    def in_preset(self, caption: str, preset: str) -> str:
        """A caption as a style preset puts it."""
        return self._presets[preset].apply(caption, "")[0]

    def unchanging(self, index: int, *, last: bool) -> str:
        """One that changes nothing: of a preset, or hardly any; in the last steps, when all is decided, its own."""
        subject, drawn = self._records[index]["captions"]["terse"], float(torch.rand(()))
        if drawn < self._options.styled:
            presets = list(self._presets)
            return self.in_preset(subject, presets[int(torch.randint(len(presets), ()))])
        if last:
            return self._drawn(index)
        return subject if drawn < (1 + self._options.styled) / 2 else ""

    def _drawn(self, index: int) -> str:
        brief = float(torch.rand(())) < self._options.brief
        return (brief_caption if brief else full_caption)(self._records[index])


def brief_caption(record: Mapping) -> str:
    """The subject and some of what there is to be said of it, in any order: as people write prompts."""
    said = []
    for group, phrases in phrases_of(record).items():
        phrase = phrases[int(torch.randint(len(phrases), ()))] if phrases else ""
        if phrase and float(torch.rand(())) < SPOKEN_OF:
            said.append(f"with {phrase}" if group in WITH else phrase)
    joints = [(" ", ", ")[int(torch.randint(2, ()))] for _ in said]
    parts = [joint + said[i] for joint, i in zip(joints, torch.randperm(len(said)).tolist(), strict=True)]
    subject = record["captions"]["terse"].removesuffix(", photo")
    return subject + "".join(parts)
