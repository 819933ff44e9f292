"""Texts as a text encoder says them to the UNet, while training."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

MEMORY = 2**32  # bytes, for what a text encoder has said


class TextReader:
    """Reads texts by one of the text encoders. On a CPU one that does not learn reads each text once: there, reading
    takes as long as a small UNet's step."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoder: nn.Module):
        self._tokenizer, self._encoder = tokenizer, encoder
        self._said: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def read(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The penultimate states (b, n, c) of texts, and the pooled ones (b, p) where the encoder has them."""
        said, device = self._said, self._encoder.device
        anew = device.type != "cpu" or any(weight.requires_grad for weight in self._encoder.parameters())
        if said and len(said) * next(iter(said.values()))[0].nbytes > MEMORY:
            said.clear()
        new = list(texts) if anew else [text for text in dict.fromkeys(texts) if text not in said]
        if new:
            ids = self._tokenizer(
                new, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
            ).input_ids
            told = self._encoder(ids.to(device), output_hidden_states=True)
            hidden, pooled = told.hidden_states[-2], getattr(told, "text_embeds", None)
            if anew:
                return hidden, pooled
            for i, text in enumerate(new):
                said[text] = hidden[i], None if pooled is None else pooled[i]
        hidden, pooled = zip(*(said[text] for text in texts), strict=True)
        return torch.stack(hidden), None if pooled[0] is None else torch.stack(pooled)
