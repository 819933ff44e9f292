"""What prompts ask for and a judge can see: hair colour, age, sex, clothes' colour, place, look. Words and labels.

Labels are read off the records of rendered people (training/people/shards.py). Colours that light alone turns into
one another are one class; those that hardly anybody wears there, such as yellow, are none.
"""

from collections.abc import Mapping

import numpy as np

from ..training.people import words
from ..training.people.looks import PHOTO
from ..training.people.looks import instantid as looks
from ..training.people.twins import SCENERIES

HAIR: Mapping[str, tuple[str, ...]] = {
    "black": ("black", "dark brown"),
    "brown": ("brown",),
    "red": ("red", "auburn"),
    "blonde": ("blonde", "dark blonde"),
    "grey": ("grey", "white"),
}
CLOTHES: Mapping[str, tuple[str, ...]] = {
    "black": ("black",),
    "grey": ("grey",),
    "white": ("white", "beige"),
    "red": ("red", "pink"),
    "brown": ("brown", "orange"),
    "green": ("green", "teal"),
    "blue": ("blue", "light blue", "navy"),
}
PLACES: Mapping[str, tuple[str, ...]] = {
    "plain": ("plain", "gradient", "studio"),
    "room": ("room",),
    "street": ("street",),
    "landscape": ("landscape",),
    "bokeh": ("bokeh",),
    **{place: (place,) for place in SCENERIES},
}
AGES = ("young", "middle-aged", "old")
SEXES = ("woman", "man")
ASKED_LOOKS = tuple(looks.LOOKS)  # InstantID's own presets
ANOTHER = "another look"
ATTRIBUTES = ("hair", "age", "sex", "clothes", "place", "look")
IN_WORDS = {
    "hair": "hair colour",
    "age": "age",
    "sex": "sex",
    "clothes": "clothes’ colour",
    "place": "background",
    "look": "style preset",
}
_PLACE_WORDS = {
    "plain": "plain white background",
    "room": "in a room",
    "street": "in the street",
    "landscape": "outdoors",
    "bokeh": "bokeh background",
    **{place: words.PLACES[place][0] for place in SCENERIES},
}


def read_labels(record: dict) -> dict[str, str]:
    """What a record's first person and picture are, by attribute; what is not seen or in between is left out."""
    seen = record["figures"][0]
    facts = seen["attributes"]
    look = record["look"]
    labels = {"look": look if look in (PHOTO, *ASKED_LOOKS) else ANOTHER}
    if facts["noun"] in SEXES:
        labels["sex"] = facts["noun"]
    years = facts["age"]
    if (
        age := "young"
        if years < 30
        else "middle-aged"
        if 45 <= years < 62
        else "old"
        if years >= 62
        else None
    ):
        labels["age"] = age
    if facts["hair"] and (hair := _class_of(words.colour_in(facts["hair"], words.HAIR_COLOURS), HAIR)):
        labels["hair"] = hair
    if record["look"] == PHOTO:  # looks paint both over, some of them
        scenery = record["scenery"]
        labels["place"] = _class_of(scenery["background"]["kind"], PLACES)
        told = words.clothes_of(seen) if scenery["camera"]["frame"] != "head" else None
        if told and (colour := _class_of(words.colour_in(told, words.COLOURS), CLOTHES)):
            labels["clothes"] = colour
    return labels


def draw_wishes(random: np.random.Generator, *, sex: str | None, age: str | None) -> dict[str, str]:
    """What a prompt is to ask for: hair, clothes and place at random; sex and age as given, where they are."""
    wishes = {
        "hair": str(random.choice(list(HAIR))),
        "clothes": str(random.choice(list(CLOTHES))),
        "place": str(random.choice(list(PLACES))),
    }
    return wishes | {name: value for name, value in (("sex", sex), ("age", age)) if value}


def write_prompt(wishes: Mapping[str, str]) -> str:
    """Say it in the words of the captions."""
    sex = wishes.get("sex", "person")
    age = f"{wishes['age']} " if "age" in wishes else ""
    article = "an" if age.startswith("o") else "a"
    length, garment = ("long", "dress") if sex == "woman" else ("short", "sweater")
    return (
        f"a photo of {article} {age}{sex} with {length} {wishes['hair']} hair wearing a {wishes['clothes']} "
        f"{garment}, facing the camera, {_PLACE_WORDS[wishes['place']]}, portrait"
    )


def _class_of(name: str | None, classes: Mapping[str, tuple[str, ...]]) -> str | None:
    return next((label for label, names in classes.items() if name in names), None)
