"""Words to what the UNet attends to: weighted and long prompts for SDXL's two text encoders.

Reads A1111's syntax itself and hands plain phrases with their weights to compel's embeddings provider; compel's
own syntax (`+`, `-`, quotes, `.and()`, `.swap()`) is never parsed, so those characters are only characters.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from compel.embeddings_provider import EmbeddingsProvider, ReturnedEmbeddingsType, SplitLongTextMode
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import get_module_execution_device

from .errors import InvalidRequest

ROUND_FACTOR = 1.1  # A1111's: each pair of round brackets multiplies by it, each pair of square ones divides
MAX_WEIGHT = 3.0  # past about 1.6 pictures fall apart; a "(16:9)" meant as text is caught here
MAX_CHUNKS = 10  # 750 tokens, some 500 words; the UNet attends to 77 more tokens for every further chunk

_TOKEN = re.compile(
    r"\\[()\[\]\\]|\bBREAK\b|:\s*(?P<weight>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*\)|[()\[\]]|[^\\()\[\]:B]+|.",
    re.DOTALL,
)


class Phrase(NamedTuple):
    """Text without markup and its weight, 1.0 where none is given."""

    text: str
    weight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptEmbeddings:
    """What SDXL pipelines take in place of prompts; the fields bear their arguments' names.

    All are in the second text encoder's dtype. L is a multiple of the tokenizer's length (77), the same for both:
    the shorter one is filled with encodings of "".

    Args:
        prompt_embeds: (1, L, d), both encoders' penultimate hidden states side by side.
        negative_prompt_embeds: (1, L, d).
        pooled_prompt_embeds: (1, p), the second encoder's pooled output of the first chunk, without weights.
        negative_pooled_prompt_embeds: (1, p).
    """

    prompt_embeds: torch.Tensor
    negative_prompt_embeds: torch.Tensor
    pooled_prompt_embeds: torch.Tensor
    negative_pooled_prompt_embeds: torch.Tensor


@torch.no_grad()
def encode(
    pipeline: DiffusionPipeline, prompt: str, negative_prompt: str, *, device: torch.device | str
) -> PromptEmbeddings:
    """Encode both prompts with the two tokenizers and text encoders of an SDXL `pipeline`, onto `device`.

    `(word)`, `(word:1.2)`, `[word]`, nesting, `BREAK` and the escapes `\\(` `\\)` `\\[` `\\]` `\\\\` mean what they
    mean to A1111, except that a bracket without its partner is text. A weight moves a token's embedding along
    the line from the empty prompt's (0) through the plain one (1); other tokens' embeddings stay as they are.
    A prompt without weights that fits one chunk equals diffusers' `encode_prompt` to the bit, "" included.
    A longer one is cut after the last phrase that fits; `BREAK` starts a new chunk, and empty parts are dropped.

    Raises:
        InvalidRequest: a weight outside 0 to `MAX_WEIGHT`, more than `MAX_CHUNKS` chunks, or text that cannot be
            encoded as UTF-8.
    """
    texts = [parse(prompt), parse(negative_prompt)]
    encoders = [
        _provider(pipeline.tokenizer, pipeline.text_encoder),
        _provider(pipeline.tokenizer_2, pipeline.text_encoder_2),
    ]
    tokens = [[_tokenize(encoder, text) for text in texts] for encoder in encoders]
    # one encoder after the other, so that model offload moves each of them once
    hidden = [
        [[_hidden_states(encoder, *part) for part in parts] for parts in texts_tokens]
        for encoder, texts_tokens in zip(encoders, tokens)
    ]
    pooled = [_pooled(encoders[1], parts[0][0]) for parts in tokens[1]]

    positive, negative = (
        _side_by_side(encoders, *text_hidden, device=device) for text_hidden in zip(*hidden)
    )
    length = max(positive.shape[1], negative.shape[1])
    if positive.shape[1] != negative.shape[1]:
        empty = torch.cat([encoder.empty_z.to(device) for encoder in encoders], dim=-1)
        positive, negative = _fill(positive, empty, length), _fill(negative, empty, length)

    like = {"device": device, "dtype": pipeline.text_encoder_2.dtype}
    return PromptEmbeddings(
        prompt_embeds=positive.to(**like),
        negative_prompt_embeds=negative.to(**like),
        pooled_prompt_embeds=pooled[0].to(**like),
        negative_pooled_prompt_embeds=pooled[1].to(**like),
    )


def parse(prompt: str) -> list[list[Phrase]]:
    """Read A1111 syntax: the parts between BREAKs, each a list of phrases; neighbours differ in weight.

    There is always a part, and always a phrase in it: an empty prompt is `[[Phrase("", 1.0)]]`.

    Raises:
        InvalidRequest: a weight outside 0 to `MAX_WEIGHT`, or text that cannot be encoded as UTF-8.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"The prompt holds half a character at position {error.start}, which is no text. Retype that place."
        ) from None

    tokens = list(_TOKEN.finditer(prompt))
    factors, closing = _pair_brackets(tokens)
    weights = [1.0]
    parts: list[list[Phrase]] = [[]]
    for index, token in enumerate(tokens):
        text = token[0]
        if index in factors:
            weights.append(weights[-1] * factors[index])
        elif index in closing:
            weights.pop()
        elif text == "BREAK":
            parts.append([])
        else:
            is_escape = len(text) == 2 and text[0] == "\\"
            parts[-1].append(Phrase(text[1:] if is_escape else text, weights[-1]))
    merged = [_merge(part) for part in parts]
    return [part for part in merged if any(phrase.text.strip() for phrase in part)] or [[Phrase("", 1.0)]]


def _pair_brackets(tokens: Sequence[re.Match[str]]) -> tuple[dict[int, float], set[int]]:
    """The factor of each opening bracket that has a partner, by index, and the indices of those partners."""
    factors: dict[int, float] = {}
    closing: set[int] = set()
    waiting: list[int] = []
    counts = {"(": 0, "[": 0}
    for index, token in enumerate(tokens):
        if token[0] in counts:
            waiting.append(index)
            counts[token[0]] += 1
            continue
        is_round = token[0] == ")" or token["weight"] is not None
        opening = "(" if is_round else "["
        if not (is_round or token[0] == "]") or not counts[opening]:
            continue
        while True:
            partner = waiting.pop()
            counts[tokens[partner][0]] -= 1
            if tokens[partner][0] == opening:
                break
        usual = ROUND_FACTOR if is_round else 1 / ROUND_FACTOR
        factors[partner] = usual if token["weight"] is None else float(token["weight"])
        closing.add(index)
    return factors, closing


def _merge(phrases: list[Phrase]) -> list[Phrase]:
    """Join neighbours of the same weight, so that they are tokenized as one text; refuse silly weights."""
    merged = [
        Phrase("".join(phrase.text for phrase in group), weight)
        for weight, group in groupby(phrases, key=lambda phrase: phrase.weight)
    ]
    for text, weight in merged:
        if text.strip() and not 0 <= weight <= MAX_WEIGHT:
            raise InvalidRequest(
                f"“{text.strip()[:40]}” has the weight {weight:g} in this prompt; weights go from 0 to "
                f"{MAX_WEIGHT:g}, and 0.5 to 1.5 works best. Write brackets meant as text as \\( and \\)."
            )
    return merged


def _provider(tokenizer, text_encoder) -> EmbeddingsProvider:
    return EmbeddingsProvider(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        truncate=False,
        returned_embeddings_type=ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED,
        split_long_text_mode=SplitLongTextMode.PHRASES,
        device=get_module_execution_device(text_encoder),
    )


def _tokenize(
    encoder: EmbeddingsProvider, parts: list[list[Phrase]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and weights of each part, both (n * 77,): whole chunks with markers and padding."""
    room = encoder.max_token_count - len(encoder.bos_sequence) - len(encoder.eos_sequence)
    texts = [phrase.text for part in parts for phrase in part]
    # counted before cutting: the time compel needs to cut grows with the square of the length
    count = sum(map(len, encoder.get_token_ids(texts, include_start_and_end_markers=False)))
    if count <= MAX_CHUNKS * room:
        chunked = [
            encoder.get_token_ids_and_expand_weights(*map(list, zip(*part)), device=encoder.device)[:2]
            for part in parts
        ]
        if sum(len(ids) for ids, _ in chunked) <= MAX_CHUNKS * encoder.max_token_count:
            return chunked
    raise InvalidRequest(
        f"This prompt is too long: {count} tokens in {len(parts)} part(s). At most {MAX_CHUNKS} chunks of {room} "
        "tokens can be used, and each BREAK starts a chunk. Shorten it."
    )


def _hidden_states(encoder: EmbeddingsProvider, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(1, n * 77, d). Without an attention mask, like diffusers: with one, kernels may round differently."""
    return encoder.build_weighted_embedding_tensor(ids, weights, attention_mask=None, device=encoder.device)


def _pooled(encoder: EmbeddingsProvider, ids: torch.Tensor) -> torch.Tensor:
    """(1, p) of the first chunk, the one that A1111 takes too."""
    return encoder.text_encoder(ids[None, : encoder.max_token_count], output_hidden_states=True)[0]


def _side_by_side(
    encoders: list[EmbeddingsProvider],
    first: list[torch.Tensor],
    second: list[torch.Tensor],
    *,
    device: torch.device | str,
) -> torch.Tensor:
    """(1, L, d) from each encoder's parts; tokenizers may need a different number of chunks for a part."""
    rows = []
    for pair in zip(first, second):
        length = max(part.shape[1] for part in pair)
        filled = [
            part if part.shape[1] == length else _fill(part, encoder.empty_z, length)
            for encoder, part in zip(encoders, pair)
        ]
        rows.append(torch.cat([part.to(device) for part in filled], dim=-1))
    return torch.cat(rows, dim=1)


def _fill(embeddings: torch.Tensor, empty: torch.Tensor, length: int) -> torch.Tensor:
    """(1, `length`, d): `embeddings` followed by as many `empty` (1, 77, d) chunks as are missing."""
    missing = (length - embeddings.shape[1]) // empty.shape[1]
    return torch.cat([embeddings, *[empty] * missing], dim=1)
