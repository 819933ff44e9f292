"""Textual inversions: their files, what their words come to mean in prompts, and that nothing of them stays."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from instantid import bundles, loading, prompts
from instantid.errors import InvalidRequest
from instantid.vocabulary import Vocabulary

WIDTH = 32  # of both text encoders of the tiny bundle


@pytest.fixture
def pipeline(tiny):
    return loading.load_pipeline(bundles.open_bundle(tiny), torch.float32)


def vectors(count: int, seed: int = 0, width: int = WIDTH) -> torch.Tensor:
    return 3 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def saved(tmp_path):
    def save(name: str = "my-style.safetensors", content: dict | None = None, **tensors: torch.Tensor):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".safetensors":
            save_file(tensors, path)
        else:
            torch.save(content, path)
        return path

    return save


def learn(pipeline, *paths) -> Vocabulary:
    vocabulary = Vocabulary(pipeline)
    vocabulary.learn(vocabulary.read(paths))
    return vocabulary


def encoded(pipeline, prompt: str, negative: str = "") -> list[torch.Tensor]:
    return list(vars(prompts.encode(pipeline, prompt, negative, device="cpu")).values())


def same(a, b) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b))


def rows_of(pipeline, prompt: str) -> list[torch.Tensor]:
    """What each encoder's first layer gets for a prompt, without start, end and padding."""
    found = []
    for tokenizer, encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        ids = torch.tensor(tokenizer(prompt).input_ids[1:-1], dtype=torch.long)
        found.append(encoder.get_input_embeddings()(ids))
    return found


def test_the_name_calls_the_vectors_of_each_encoder_in_order(pipeline, saved):
    before = rows_of(pipeline, "a man")
    low, high = vectors(3), vectors(3, seed=1)
    learn(pipeline, saved(clip_l=low, clip_g=high))
    for found, expected, plain in zip(rows_of(pipeline, "a my-style man"), (low, high), before):
        assert torch.equal(found, torch.cat([plain[:1], expected, plain[1:]]))


@pytest.mark.parametrize(
    "prompt", ["A MY-Style man", "a my-style, man", "a (my-style:1.2) man", "a [my-style] man"]
)
def test_it_may_stand_anywhere_in_any_case(pipeline, saved, prompt):
    plain = encoded(pipeline, prompt)
    learn(pipeline, saved(clip_l=vectors(2), clip_g=vectors(2, 1)))
    assert not same(encoded(pipeline, prompt), plain)


@pytest.mark.parametrize("prompt", ["a my-styled man", "a man", "my style", "amy-style", "my-style_2", ""])
def test_other_words_mean_what_they_meant(pipeline, saved, prompt):
    plain = encoded(pipeline, prompt, prompt)
    learn(pipeline, saved(clip_l=vectors(2), clip_g=vectors(2, 1)))
    assert same(encoded(pipeline, prompt, prompt), plain)


def test_it_works_in_the_negative_prompt_too(pipeline, saved):
    before = encoded(pipeline, "a man", "my-style")
    learn(pipeline, saved(clip_l=vectors(2), clip_g=vectors(2, 1)))
    embeds, negative, pooled, negative_pooled = encoded(pipeline, "a man", "my-style")
    assert torch.equal(embeds, before[0]) and torch.equal(pooled, before[2])
    assert not torch.equal(negative, before[1]) and not torch.equal(negative_pooled, before[3])


def test_a_weight_reaches_every_vector_of_the_word_and_no_other(pipeline, saved):
    learn(pipeline, saved(clip_l=vectors(3), clip_g=vectors(3, 1)))
    plain, empty, *_ = encoded(pipeline, "a my-style man")
    weighted, *_ = encoded(pipeline, "a (my-style:1.5) man")
    word = slice(2, 5)  # after the start and “a”
    assert torch.allclose(weighted[:, word], (empty + 1.5 * (plain - empty))[:, word], atol=1e-4)
    assert torch.equal(weighted[:, :2], plain[:, :2]) and torch.equal(weighted[:, 5:], plain[:, 5:])


@pytest.mark.parametrize("eos_in_the_configuration", [2, None])
def test_the_pooled_output_is_that_of_the_prompts_end(pipeline, saved, eos_in_the_configuration):
    """SDXL's configurations say 2, and CLIP then takes the highest number for the end: that of a new word."""
    if eos_in_the_configuration:
        pipeline.text_encoder_2.text_model.eos_token_id = eos_in_the_configuration
    vocabulary = learn(pipeline, saved(clip_l=vectors(2), clip_g=vectors(2, 1)))
    ids = torch.tensor([pipeline.tokenizer_2("a my-style man").input_ids])
    with torch.no_grad():
        hidden = pipeline.text_encoder_2.text_model(ids).last_hidden_state
        at_the_end = pipeline.text_encoder_2.text_projection(hidden[:, -1])
    assert torch.allclose(encoded(pipeline, "a my-style man")[2], at_the_end, atol=1e-5)
    vocabulary.forget()
    expected = eos_in_the_configuration or pipeline.text_encoder_2.config.eos_token_id
    assert pipeline.text_encoder_2.text_model.eos_token_id == expected


def test_several_words_one_of_which_is_in_the_other(pipeline, saved):
    first, second = (
        saved("neon.safetensors", clip_l=vectors(2), clip_g=vectors(2)),
        saved("neon city.safetensors", clip_l=vectors(1, 5), clip_g=vectors(4, 5)),
    )
    learn(pipeline, first, second)
    low, high = rows_of(pipeline, "neon neon city")
    assert torch.equal(low, torch.cat([vectors(2), vectors(1, 5)]))
    assert torch.equal(high, torch.cat([vectors(2), vectors(4, 5)]))


def test_an_ordinary_word_means_the_embedding_while_it_is_in_use(pipeline, saved):
    plain = encoded(pipeline, "a watercolor hat")
    vocabulary = learn(pipeline, saved("watercolor.safetensors", clip_l=vectors(1), clip_g=vectors(1)))
    assert torch.equal(rows_of(pipeline, "watercolor")[0], vectors(1))
    vocabulary.forget()
    assert same(encoded(pipeline, "a watercolor hat"), plain)


@pytest.mark.parametrize("key", ["emb_params", "emp_params", "<cat>"])
def test_an_embedding_of_one_encoder_means_nothing_to_the_other(pipeline, saved, key):
    plain = rows_of(pipeline, "a man")[1]
    learn(pipeline, saved(**{key: vectors(2)}))
    low, high = rows_of(pipeline, "a my-style man")
    assert torch.equal(low[1:3], vectors(2))
    assert torch.equal(high, plain)


@pytest.mark.parametrize(
    "content",
    [
        {"clip_l": vectors(2), "clip_g": vectors(2)},
        {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors(2)}, "name": "x", "step": 500},
        {"<my-style>": vectors(2)},
        {"<my-style>": torch.nn.Parameter(vectors(2))},
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".bin"])
def test_pickles_of_tensors_are_read(pipeline, saved, content, suffix):
    learn(pipeline, saved(f"my-style{suffix}", content))
    assert torch.equal(rows_of(pipeline, "my-style")[0], vectors(2))


def test_a_pickle_with_code_in_it_is_refused_and_not_run(pipeline, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    torch.save({"clip_l": Trap()}, tmp_path / "trap.pt")
    (tmp_path / "bare.bin").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.pt", "bare.bin"):
        with pytest.raises(InvalidRequest, match="could run code"):
            Vocabulary(pipeline).read([tmp_path / name])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"clip_l": vectors(2, width=48), "clip_g": vectors(2)}, "vectors are 48 wide.* take 32 and 32"),
        ({"emb_params": vectors(2, width=1024)}, "vectors are 1024 wide.*One made for SDXL"),
        ({"clip_l": vectors(2) / 0, "clip_g": vectors(2)}, "damaged"),
        ({"clip_l": torch.ones(2, WIDTH, dtype=torch.int32)}, "damaged"),
        ({"clip_l": torch.ones(2, 3, WIDTH)}, "damaged"),
        ({"lora_down": vectors(2), "lora_up": vectors(2)}, "is no textual inversion"),
        ({"clip_l": vectors(76), "clip_g": vectors(76)}, "has 76 vectors; a prompt has room for 75"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(pipeline, saved, tensors, told):
    with pytest.raises(InvalidRequest, match=told):
        Vocabulary(pipeline).read([saved(**tensors)])


def test_missing_damaged_and_mistaken_files_are_told_apart(pipeline, tmp_path):
    read = Vocabulary(pipeline).read
    with pytest.raises(InvalidRequest, match="There is no embedding at"):
        read([tmp_path / "gone.safetensors"])
    for name, content, told in (
        ("cut.safetensors", b"\xff\0\0\0\0\0\0\0{", "cut short"),
        ("noise.pt", bytes(range(256)), "cannot be read|could run code"),
        ("page.bin", b"<!DOCTYPE html>", "web page"),
        ("notes.txt", b"a", r"a .safetensors, .pt or .bin file is wanted"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidRequest, match=told):
            read([tmp_path / name])


def test_two_of_one_name_and_names_that_prompts_cannot_hold_are_refused(pipeline, saved):
    both = {"clip_l": vectors(1), "clip_g": vectors(1)}
    with pytest.raises(InvalidRequest, match=r"Two embeddings are called “neon”.*rename"):
        Vocabulary(pipeline).read([saved("a/Neon.safetensors", **both), saved("b/neon.safetensors", **both)])
    for name in ("neon (1)", "a\\b", "[x]"):
        with pytest.raises(InvalidRequest, match="Rename the file"):
            Vocabulary(pipeline).read([saved(f"{name}.safetensors", **both)])


@pytest.mark.parametrize("name", ["a.b*c+d?", "<cat-toy>", "ÉLAN", "x^$|{2}", "#1 & ~2", "東京"])
def test_any_other_name_is_only_itself(pipeline, saved, name):
    learn(pipeline, saved(f"{name}.safetensors", clip_l=vectors(2), clip_g=vectors(2)))
    assert torch.equal(rows_of(pipeline, f"{name}")[0], vectors(2))
    assert len(rows_of(pipeline, "a b c d x 1 2 cat")[0]) > 5


def test_words_that_no_prompt_calls_are_told(pipeline, saved):
    both = {"clip_l": vectors(1), "clip_g": vectors(1)}
    vocabulary = learn(pipeline, saved("Neon.safetensors", **both), saved("bad hands.safetensors", **both))
    assert vocabulary.unused("a neon man", "(bad  hands:1.2)") == []
    assert vocabulary.unused("a man", "bad hands") == ["neon"]
    assert vocabulary.unused("neons", "") == ["neon", "bad hands"]
    vocabulary.forget()
    assert vocabulary.unused("", "") == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_everything_is_given_back_exactly_twice(tiny, saved, dtype):
    pipeline = loading.load_pipeline(bundles.open_bundle(tiny), dtype)

    def state():
        tokenizers, encoders = (
            (pipeline.tokenizer, pipeline.tokenizer_2),
            (pipeline.text_encoder, pipeline.text_encoder_2),
        )
        return [
            *(id(each) for each in tokenizers),
            *(len(each) for each in tokenizers),
            *(each.backend_tokenizer.to_str() for each in tokenizers),
            *(repr(each) for each in encoders),
            *(tuple(each.state_dict()) for each in encoders),
            *(id(each.get_input_embeddings()) for each in encoders),
            *(weight.double().sum().item() for each in encoders for weight in each.parameters()),
            *(weight.requires_grad for each in encoders for weight in each.parameters()),
        ]

    path, before, plain = (
        saved(clip_l=vectors(2), clip_g=vectors(2, 1)),
        state(),
        encoded(pipeline, "a my-style man"),
    )
    vocabulary = Vocabulary(pipeline)
    for _ in range(2):
        vocabulary.learn(vocabulary.read([path]))
        assert state() != before
        table = pipeline.text_encoder.get_input_embeddings()
        assert table.weight.dtype == dtype and table.num_embeddings == len(pipeline.tokenizer)
        assert not same(encoded(pipeline, "a my-style man"), plain)
        vocabulary.forget()
        assert state() == before
        assert same(encoded(pipeline, "a my-style man"), plain)


def test_a_long_prompt_with_the_word_in_it_is_cut_like_any_other(pipeline, saved):
    learn(pipeline, saved(clip_l=vectors(60), clip_g=vectors(60, 1)))
    embeds = encoded(pipeline, "a man, my-style, my-style, " + "a red hat, " * 10)[0]
    assert embeds.shape[1] == 3 * 77
    with pytest.raises(InvalidRequest, match="too long"):
        encoded(pipeline, "my-style, " * 20)
