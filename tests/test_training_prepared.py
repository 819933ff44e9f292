"""What trainers read: pieces that are whole or not there, and what is found in them."""

import numpy as np
import pytest
from small_family import make_prepared

from instantid.errors import InvalidRequest
from instantid.training.prepared import Prepared, encode_latents


@pytest.fixture
def prepared(tmp_path):
    return make_prepared(tmp_path / "data")


def test_pieces_read_as_one(prepared):
    assert len(prepared) == 12
    assert prepared.size == 64
    whole = prepared.images(range(12))
    assert whole.shape == (12, 64, 64, 3)
    assert np.array_equal(prepared.images([7, 0]), whole[[7, 0]])
    assert [record["key"] for record in prepared.records][3:5] == ["1-0", "1-1"]
    assert list(prepared.persons[2:5]) == [0, 1, 1]


def test_pictures_without_a_face_are_nobodys(prepared):
    assert not prepared.found[2]
    assert not prepared.embeddings[2].any()
    assert list(prepared.of_person(0)) == [0, 1]
    assert list(prepared.of_person(3)) == [9, 10, 11]
    assert len(prepared.of_person(77)) == 0


def test_a_folder_without_pieces_says_how_to_make_them(tmp_path):
    with pytest.raises(InvalidRequest, match="prepare"):
        Prepared(tmp_path)


def test_pieces_of_two_sizes_are_refused(tmp_path):
    make_prepared(tmp_path, people=2)
    make_prepared(tmp_path / "other", people=1, side=32)
    (tmp_path / "other" / "piece-00").rename(tmp_path / "piece-09")
    with pytest.raises(InvalidRequest, match="differ in size"):
        Prepared(tmp_path)


def test_a_half_written_piece_is_not_read(tmp_path):
    make_prepared(tmp_path, people=2)
    (tmp_path / "piece-01").rename(tmp_path / "piece-01.part")
    (tmp_path / "piece-01.part" / "records.jsonl").unlink()
    assert len(Prepared(tmp_path)) == 3


def test_latents_are_made_once_for_an_autoencoder(prepared):
    with pytest.raises(InvalidRequest, match="latents"):
        prepared.latents([0])
    calls = []

    def encode(pictures):
        calls.append(len(pictures))
        return pictures[:, ::8, ::8, :].transpose(0, 3, 1, 2).astype(np.float32) / 255

    encode_latents(prepared, encode, mark="a", batch=2)
    assert sum(calls) == 12
    assert prepared.latents([5]).shape == (1, 3, 8, 8)
    assert prepared.latents([5]).dtype == np.float16
    encode_latents(prepared, encode, mark="a", batch=2)
    assert sum(calls) == 12, "they were there"
    encode_latents(prepared, encode, mark="b", batch=2)
    assert sum(calls) == 24, "another autoencoder's are of no use"
