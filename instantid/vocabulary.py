"""The words of textual inversions: lent to a pipeline's tokenizers and text encoders, and taken back exactly."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path

import torch
from diffusers import StableDiffusionXLControlNetPipeline
from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading
from tokenizers import AddedToken, Regex, normalizers
from torch import nn
from transformers import CLIPTokenizer

from .errors import InvalidRequest
from .inversion_file import ENCODERS, read_inversion

TOKENIZERS = ("tokenizer", "tokenizer_2")
PRIVATE = 0xE000  # Unicode's private use area: no prompt and no file name holds these letters
MARKUP = "()[]\\"
LEGACY_EOS = 2  # of CLIP configurations written before transformers#24773, SDXL's among them

Vectors = dict[str, torch.Tensor]
"""Per text encoder, (vectors, width)."""


class Vocabulary:
    """What a pipeline's tokenizers and text encoders know beyond their own words.

    The name of a file, without its ending, is the word that calls it, in any case of letters; it then means the
    embedding and nothing else, be it an ordinary word or not. Where a file has nothing for one of the two encoders,
    the word means nothing to that one.
    """

    def __init__(self, pipeline: StableDiffusionXLControlNetPipeline):
        self._pipeline = pipeline
        self._words: tuple[str, ...] = ()
        self._forget: Callable[[], object] = lambda: None
        self._normalize = pipeline.tokenizer.backend_tokenizer.normalizer.normalize_str

    def read(self, paths: Sequence[Path]) -> dict[str, Vectors]:
        """Read files, by the words that call them.

        Raises:
            InvalidRequest: a file cannot be used, or two have one name.
        """
        named: dict[str, Path] = {}
        for path in paths:
            word = self._normalize(path.stem).strip()
            if not word or set(word) & set(MARKUP):
                raise InvalidRequest(
                    f"The embedding “{path.name}” cannot be called by its name: brackets and backslashes have a "
                    "meaning of their own in prompts. Rename the file."
                )
            if word in named:
                raise InvalidRequest(
                    f"Two embeddings are called “{word}”: {named[word]} and {path}. Choose one, or rename a file."
                )
            named[word] = path
        return {word: self._vectors(path) for word, path in named.items()}

    def learn(self, words: Mapping[str, Vectors]) -> None:
        """Know exactly these words beyond the pipeline's own."""
        self.forget()
        if not words:
            return
        letters = map(chr, count(PRIVATE))
        spelling = {word: list(islice(letters, max(map(len, both.values())))) for word, both in words.items()}
        with ExitStack() as undo:
            for tokenizer, encoder in zip(TOKENIZERS, ENCODERS):
                rows = {word: both[encoder] for word, both in words.items() if encoder in both}
                known = {word: spelling[word][: len(rows.get(word, ()))] for word in words}
                self._teach(undo, tokenizer, encoder, known, rows)
            self._forget = undo.pop_all().close
        self._words = tuple(words)

    def forget(self) -> None:
        """Tokenizers and text encoders are again what they were."""
        self._forget()
        self._forget = lambda: None
        self._words = ()

    def unused(self, *prompts: str) -> list[str]:
        """The words that none of the prompts holds."""
        said = [self._normalize(prompt) for prompt in prompts]
        return [word for word in self._words if not any(re.search(_pattern(word), text) for text in said)]

    def _vectors(self, path: Path) -> Vectors:
        tables = {name: getattr(self._pipeline, name).get_input_embeddings() for name in ENCODERS}
        vectors = read_inversion(path, {name: table.embedding_dim for name, table in tables.items()})
        most, room = max(map(len, vectors.values())), self._pipeline.tokenizer.model_max_length - 2
        if most > room:
            raise InvalidRequest(
                f"The embedding “{path.name}” has {most} vectors; a prompt has room for {room}."
            )
        return vectors

    def _teach(
        self,
        undo: ExitStack,
        tokenizer_name: str,
        encoder_name: str,
        spelling: Mapping[str, Sequence[str]],
        rows: Mapping[str, torch.Tensor],
    ) -> None:
        tokenizer, encoder = (getattr(self._pipeline, name) for name in (tokenizer_name, encoder_name))
        table = encoder.get_input_embeddings()
        taught = _taught(tokenizer, spelling)
        # Its hooks hold on to the layers that they were made for.
        undo.callback(_maybe_remove_and_reapply_group_offloading, encoder)
        undo.callback(encoder.set_input_embeddings, table)
        encoder.set_input_embeddings(_grown(table, taught, spelling, rows))
        _maybe_remove_and_reapply_group_offloading(encoder)
        undo.callback(setattr, self._pipeline, tokenizer_name, tokenizer)
        setattr(self._pipeline, tokenizer_name, taught)
        for module in encoder.modules():
            if getattr(module, "eos_token_id", None) == LEGACY_EOS:
                # It would take the highest number, now that of a new word, for the prompt's end.
                undo.callback(setattr, module, "eos_token_id", LEGACY_EOS)
                module.eos_token_id = tokenizer.eos_token_id


def _pattern(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def _taught(tokenizer: CLIPTokenizer, spelling: Mapping[str, Sequence[str]]) -> CLIPTokenizer:
    """A copy that reads each word as its letters, one per vector, and as nothing where it has none.

    The words are replaced while text is normalized, the letters are tokens: so a word of several vectors passes
    through weighting and chunking like any other text.
    """
    taught = copy.deepcopy(tokenizer)
    longest_first = sorted(spelling, key=len, reverse=True)
    replaced = [
        normalizers.Replace(Regex(_pattern(word)), "".join(spelling[word]) or " ") for word in longest_first
    ]
    backend = taught.backend_tokenizer
    backend.normalizer = normalizers.Sequence([backend.normalizer, *replaced])
    letters = [letter for word in spelling.values() for letter in word]
    taught.add_tokens([AddedToken(letter, normalized=True, single_word=False) for letter in letters])
    return taught


def _grown(
    table: nn.Embedding,
    tokenizer: CLIPTokenizer,
    spelling: Mapping[str, Sequence[str]],
    rows: Mapping[str, torch.Tensor],
) -> nn.Embedding:
    """A copy of `table` (words, width) with rows for the letters of every word."""
    numbers = {word: tokenizer.convert_tokens_to_ids(list(letters)) for word, letters in spelling.items()}
    size = max([table.num_embeddings - 1, *(number for each in numbers.values() for number in each)]) + 1
    weight = table.weight.new_zeros(size, table.embedding_dim)
    weight[: table.num_embeddings] = table.weight
    for word, vectors in rows.items():
        weight[numbers[word]] = vectors.to(weight)
    return nn.Embedding.from_pretrained(weight)
