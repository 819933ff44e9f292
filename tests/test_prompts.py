import contextlib
import json
import random
import time
from types import SimpleNamespace

import pytest
import torch
from accelerate import cpu_offload
from diffusers import StableDiffusionXLPipeline
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from instantid.errors import InvalidRequest
from instantid.prompts import MAX_CHUNKS, encode, parse

CORPUS = [
    "a man, studio portrait, film noir style, highly detailed, dramatic shadows, sharp focus on the eyes.",
    "watercolor painting of a woman with a red hat; soft light: muted colors, 35mm film, f/1.4",
]
LONG = (
    "a hat. film noir style with soft light, red, "
    + "a woman with a red hat, soft light, muted colors, film noir style. " * 8
)
PLAIN = [
    "",
    "   ",
    "a man, studio portrait",
    "  Film  noir,a woman ;\n highly   detailed ",
    'a "quoted" c++ programmer - portrait, 50mm f/1.4 ++',
    r'cat.swap\(dog, s_start=0.1\) \("one", "two"\).and\(\) word- word++',
    r'\("a","b"\).blend\(0.5, 0.5\) useLora\(x,1\) a.attend\(2\)',
    "¯\\_ ツ _/¯ C:\\path {prompt} <b> héllo 東京 🙂",
    "!!! ! !",
]


def tiny_tokenizer(pad_token: str) -> CLIPTokenizer:
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["!", "<|startoftext|>", "<|endoftext|>", *(f"{letter}</w>" for letter in alphabet)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, end_of_word_suffix="</w>"
    )
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    return CLIPTokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        pad_token=pad_token,
        model_max_length=77,
    )


def tiny_pipeline(dtype: torch.dtype = torch.float32) -> StableDiffusionXLPipeline:
    """SDXL's text part: two tokenizers that differ in padding, two encoders of different widths."""
    tokenizer, tokenizer_2 = tiny_tokenizer("<|endoftext|>"), tiny_tokenizer("!")
    torch.manual_seed(0)
    shared = {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    first = CLIPTextConfig(hidden_size=16, intermediate_size=24, **shared)
    second = CLIPTextConfig(hidden_size=24, intermediate_size=32, projection_dim=12, **shared)
    return StableDiffusionXLPipeline(
        vae=None,
        unet=None,
        scheduler=None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        text_encoder=CLIPTextModel(first).to(dtype).eval(),
        text_encoder_2=CLIPTextModelWithProjection(second).to(dtype).eval(),
    )


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionXLPipeline:
    return tiny_pipeline()


def by_diffusers(pipeline, prompt: str, negative_prompt: str) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(pipeline.encode_prompt(prompt, negative_prompt=negative_prompt, device="cpu"))


def by_us(pipeline, prompt: str, negative_prompt: str = "") -> list[torch.Tensor]:
    return list(vars(encode(pipeline, prompt, negative_prompt, device="cpu")).values())


def phrases(prompt: str) -> list[tuple[str, float]]:
    (part,) = parse(prompt)
    return [(text, round(weight, 6)) for text, weight in part]


def token_rows(pipeline, before: str, word: str) -> tuple[int, int]:
    """Where `word` stands when it follows `before`."""
    start = len(pipeline.tokenizer(before).input_ids) - 1
    return start, start + len(pipeline.tokenizer(word).input_ids) - 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_plain_prompts_equal_diffusers_to_the_bit(dtype):
    pipeline = tiny_pipeline(dtype)
    for prompt in PLAIN:
        plain = prompt.replace("\\(", "(").replace("\\)", ")")
        for ours, theirs in zip(by_us(pipeline, prompt, "blurry"), by_diffusers(pipeline, plain, "blurry")):
            assert ours.dtype == theirs.dtype == dtype
            assert torch.equal(ours, theirs), prompt


def test_encoders_of_two_dtypes_follow_the_second_like_diffusers():
    pipeline = tiny_pipeline()
    pipeline.text_encoder_2.half()
    theirs = by_diffusers(pipeline, "a man", "blurry")
    for mine, expected in zip(by_us(pipeline, "a man", "blurry"), theirs):
        assert mine.dtype == torch.float16
        assert torch.equal(mine, expected)


def test_empty_prompts_are_encoded_not_zeroed(pipeline):
    ours = by_us(pipeline, "", "")
    assert all(torch.equal(a, b) for a, b in zip(ours, by_diffusers(pipeline, "", "")))
    assert ours[0].abs().sum() > 0
    assert torch.equal(ours[0], ours[1])


@pytest.mark.parametrize(
    "prompt", ["a (red:1.0) hat", "a (red:1) hat", "a ([red]) hat", "a r(e:1)d hat", "BREAK a red hat BREAK"]
)
def test_weight_one_equals_no_weight(pipeline, prompt):
    for weighted, plain in zip(by_us(pipeline, prompt), by_us(pipeline, "a red hat")):
        assert torch.equal(weighted, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_weight_moves_its_own_tokens_away_from_the_empty_prompt(dtype):
    pipeline = tiny_pipeline(dtype)
    plain, empty, plain_pooled, _ = by_us(pipeline, "a red hat, film")
    weighted, _, weighted_pooled, _ = by_us(pipeline, "a (red:1.5) hat, film")
    start, end = token_rows(pipeline, "a", "red")
    moved = (empty.float() + 1.5 * (plain.float() - empty.float()))[:, start:end]
    assert torch.allclose(weighted[:, start:end].float(), moved, rtol=4 * torch.finfo(dtype).eps, atol=0.02)
    assert not torch.allclose(weighted[:, start:end].float(), plain[:, start:end].float(), atol=0.1)
    rest = [i for i in range(77) if not start <= i < end]
    assert torch.equal(weighted[:, rest], plain[:, rest])
    assert torch.equal(weighted_pooled, plain_pooled)


def test_weight_zero_leaves_the_empty_prompt_in_that_place(pipeline):
    weighted, empty, *_ = by_us(pipeline, "a (red:0) hat")
    start, end = token_rows(pipeline, "a", "red")
    assert torch.allclose(weighted[:, start:end], empty[:, start:end], atol=1e-6)


def test_the_promised_hostile_prompt_survives(pipeline):
    prompt = 'a "quoted" c++ programmer - portrait, 50mm f/1.4 (close-up:1.3) ++'
    assert phrases(prompt) == [
        ('a "quoted" c++ programmer - portrait, 50mm f/1.4 ', 1.0),
        ("close-up", 1.3),
        (" ++", 1.0),
    ]
    assert not torch.equal(by_us(pipeline, prompt)[0], by_us(pipeline, prompt.replace(":1.3", ":1"))[0])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a (red) hat", [("a ", 1), ("red", 1.1), (" hat", 1)]),
        ("((red))", [("red", 1.21)]),
        ("[red]", [("red", 0.909091)]),
        ("(two words:.5)", [("two words", 0.5)]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (r"\(literal\] \[x\) \\", [(r"(literal] [x) " + "\\", 1)]),
        (r"(a\):1.3)", [("a)", 1.3)]),
        (r"\\(a)", [("\\", 1), ("a", 1.1)]),
        ("(a : 1.5 )", [("a ", 1.5)]),
        ("time 12:30, a:1.2", [("time 12:30, a:1.2", 1)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:1e5)", [("a:1e5", 1.1)]),
        (":) a:1.2) ] [ :(", [(":) a:1.2) ] [ :(", 1)]),
        ("(((b:1.3))", [("(", 1), ("b", 1.43)]),
        ("(a [b) c]", [("a [b", 1.1), (" c]", 1)]),
        ("()[](:2)", [("", 1)]),
        ("BREAKFAST at UNBREAK_ABLE break", [("BREAKFAST at UNBREAK_ABLE break", 1)]),
    ],
)
def test_syntax(prompt, expected):
    assert phrases(prompt) == expected


def test_break_starts_a_new_chunk_and_weights_reach_across_it(pipeline):
    assert parse("(a BREAK b:1.2)BREAK BREAK c") == [[("a ", 1.2)], [(" b", 1.2)], [(" c", 1.0)]]
    embeds, negative, pooled, _ = by_us(pipeline, "a man BREAK red hat", "blurry")
    first, second = by_us(pipeline, "a man"), by_us(pipeline, "red hat")
    assert torch.equal(embeds, torch.cat([first[0], second[0]], dim=1))
    assert torch.equal(pooled, first[2])
    assert torch.equal(negative, torch.cat([by_us(pipeline, "blurry")[0], by_us(pipeline, "")[0]], dim=1))


def test_a_long_prompt_is_cut_after_a_phrase_and_the_negative_is_filled(pipeline):
    embeds, negative, pooled, negative_pooled = by_us(pipeline, LONG, "blurry")
    chunks = embeds.shape[1] // 77
    assert 2 <= chunks <= MAX_CHUNKS
    assert negative.shape == embeds.shape
    blurry = by_us(pipeline, "blurry")
    empty = by_us(pipeline, "")[0]
    assert torch.equal(negative, torch.cat([blurry[0]] + [empty] * (chunks - 1), dim=1))
    assert torch.equal(negative_pooled, blurry[2])
    # the first chunk is itself a prompt: the longest run of phrases that fits
    ends = [i + 1 for i, letter in enumerate(LONG) if letter in ".,"]
    heads = [LONG[:end] for end in ends if len(pipeline.tokenizer(LONG[:end]).input_ids) <= 77]
    assert len(pipeline.tokenizer(heads[-1]).input_ids) < 76  # or else cutting after any word would pass
    head = by_us(pipeline, heads[-1])
    assert torch.equal(embeds[:, :77], head[0])
    assert torch.equal(pooled, head[2])


def test_a_long_negative_fills_the_prompt(pipeline):
    embeds, negative, *_ = by_us(pipeline, "a man", LONG)
    assert embeds.shape == negative.shape
    assert torch.equal(embeds[:, 77:154], by_us(pipeline, "")[0])


def test_tokenizers_that_need_different_numbers_of_chunks_are_aligned():
    pipeline = tiny_pipeline()
    pipeline.tokenizer.model_max_length = pipeline.tokenizer_2.model_max_length = 77
    spelled = SimpleNamespace(
        **{name: getattr(pipeline, name) for name in ("tokenizer_2", "text_encoder", "text_encoder_2")}
    )
    spelled.tokenizer = CLIPTokenizer(
        vocab=pipeline.tokenizer.get_vocab(), merges=[], model_max_length=77, pad_token="<|endoftext|>"
    )
    prompt = (
        "a woman with a red hat, soft light, muted colors, film noir style, dramatic shadows, sharp focus"
    )
    embeds = encode(spelled, prompt, "", device="cpu").prompt_embeds
    alone = by_us(pipeline, prompt)[0]
    assert alone.shape[1] == 77 < embeds.shape[1]
    assert torch.equal(embeds[:, :77, 16:], alone[:, :, 16:])
    assert torch.equal(embeds[:, 77:154, 16:], by_us(pipeline, "")[0][:, :, 16:])


def test_offload_hooks_are_obeyed():
    pipeline = tiny_pipeline()
    expected = by_us(pipeline, "a (red:1.3) hat", LONG)
    cpu_offload(pipeline.text_encoder, execution_device=torch.device("cpu"))
    cpu_offload(pipeline.text_encoder_2, execution_device=torch.device("cpu"))
    assert pipeline.text_encoder.device == torch.device("meta")
    for offloaded, resident in zip(by_us(pipeline, "a (red:1.3) hat", LONG), expected):
        assert torch.equal(offloaded, resident)


def test_encoders_and_tokenizers_stay_as_they_were(pipeline):
    def state():
        encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
        return [repr(encoder) + str(encoder.training) for encoder in encoders] + [
            repr(pipeline.tokenizer),
            sum(
                parameter.double().sum().item() for encoder in encoders for parameter in encoder.parameters()
            ),
            pipeline.tokenizer(LONG).input_ids,
        ]

    before = state()
    first = by_us(pipeline, "a (red:1.3) hat", LONG)
    assert state() == before
    assert all(torch.equal(a, b) for a, b in zip(first, by_us(pipeline, "a (red:1.3) hat", LONG)))
    assert not any(tensor.requires_grad for tensor in first)


@pytest.mark.parametrize(
    "prompt", ["(a:3.1)", "(a:-1)", "(photo in 16:9)", "(" * 13 + "a" + ")" * 13, "(a:" + "9" * 400 + ")"]
)
def test_silly_weights_are_refused_with_a_way_out(pipeline, prompt):
    with pytest.raises(InvalidRequest, match=r"weights go from 0 to 3.*\\\("):
        by_us(pipeline, "", prompt)


@pytest.mark.parametrize(
    "prompt", ["word " * 1000, "a BREAK " * 11, ("a, " + "b" * 80 + " ") * 9, "🙂" * 200_000]
)
def test_too_long_a_prompt_is_refused_quickly(pipeline, prompt):
    started = time.perf_counter()
    with pytest.raises(InvalidRequest, match="too long"):
        by_us(pipeline, prompt)
    assert time.perf_counter() - started < 10


def test_half_a_character_is_refused(pipeline):
    with pytest.raises(InvalidRequest, match="position 2"):
        by_us(pipeline, "a \ud83d b")


def test_deep_and_crossed_brackets_are_read_in_linear_time():
    started = time.perf_counter()
    for prompt in (
        "(" * 50_000,
        "([" * 25_000 + "]" * 25_000 + ")" * 25_000,
        "([" * 50_000 + ")" * 50_000 + " ",
        "(]" * 50_000,
        "(a:" + "1" * 50_000,
        ":" * 50_000,
        "B" * 50_000,
    ):
        with contextlib.suppress(InvalidRequest):
            parse(prompt)
    assert time.perf_counter() - started < 10


def test_any_text_gives_embeddings_or_a_clear_refusal(pipeline):
    alphabet = [
        *"()[]{}<>:;.,+-=\"'\\/|!?*&%$#@^~`_ \t\n\x00\x1b\u200b\u202e\ufeff\ud800é東🙂ß̈",
        "(a:1.2)", ":1.3)", ":0)", ":-1)", ":nan)", ":inf)", "BREAK", " BREAK ", "AND", ".and()",
        ".swap(", ".blend(1,2)", ".attend(", "++", "--", "no_normalize", "withLora(x,1)", "<|endoftext|>",
        "<|startoftext|>", "</w>", "{prompt}", "\\(", "\\)", "\\\\", "red", " hat", "12", "0.5", "%s", "a" * 90,
    ]  # fmt: skip
    chance = random.Random(0)
    outcomes = {"embeddings": 0, "refused": 0}
    for _ in range(150):
        prompt, negative = ("".join(chance.choices(alphabet, k=chance.randint(0, 60))) for _ in range(2))
        if chance.random() < 0.8:
            prompt, negative = prompt.replace("\ud800", ""), negative.replace("\ud800", "")
        try:
            embeds, negative_embeds, pooled, negative_pooled = by_us(pipeline, prompt, negative)
        except InvalidRequest as refusal:
            outcomes["refused"] += 1
            assert len(str(refusal)) > 40
            continue
        outcomes["embeddings"] += 1
        assert embeds.shape == negative_embeds.shape
        assert embeds.shape[1] % 77 == 0
        assert pooled.shape == negative_pooled.shape == (1, 12)
        assert all(tensor.isfinite().all() for tensor in (embeds, negative_embeds, pooled, negative_pooled))
    assert min(outcomes.values()) > 10
