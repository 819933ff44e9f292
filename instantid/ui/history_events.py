"""What happens in the history: finding, choosing, comparing, deleting, exporting."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context
from gradio.events import Dependency

from .. import history
from ..history import History
from .history import CHOOSE, COMPARE, DELETE, EMPTY, PAGE, HistoryPanel, store_of
from .history_words import caption, differences_table, settings_table
from .photos import notice
from .problems import shown_on_page
from .side_by_side import side_by_side
from .studio import Studio
from .visits import KEY_OF_TAB

CHOOSE_SECOND = "Now choose the picture to compare it with."
STOP_COMPARING, REALLY = "Stop comparing", "Delete for good"
NO_MATCH = "No picture has all of that."
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
WHO_COMES = f"() => [({KEY_OF_TAB})(), -new Date().getTimezoneOffset()]"


def connect_history(studio: Studio, panel: HistoryPanel) -> Dependency:
    """Wire the group, but for restoring settings.

    Returns:
        The event after which the visit is known.
    """
    asked = [panel.visit, panel.words, panel.likeness, panel.limit, panel.minutes]
    listed = [panel.said, panel.gallery, panel.names, panel.more, panel.export, panel.archive]
    shown = [
        panel.picture,
        panel.slider,
        panel.actions,
        panel.compare,
        panel.download,
        panel.delete,
        panel.about,
    ]

    def show_list(visit, words, likeness, limit, minutes):
        with shown_on_page():
            return list_updates(panel, store_of(studio, panel, visit), words, likeness, limit, minutes)

    opened = Context.root_block.load(
        lambda key, minutes: ("", panel.visits.enter(key), minutes),
        [panel.key, panel.minutes],
        [panel.key, panel.visit, panel.minutes],
        js=WHO_COMES,
        queue=False,
        **QUIET,
    )
    opened.then(show_list, asked, listed, **QUIET)
    gr.on(
        [panel.latest.change, panel.words.change, panel.likeness.change, panel.limit.change],
        show_list,
        asked,
        listed,
        trigger_mode="always_last",
        **QUIET,
    )
    panel.more.click(lambda limit: limit + PAGE, panel.limit, panel.limit, **QUIET)

    def choose(visit, names, first, minutes, event: gr.SelectData):
        with shown_on_page():
            store, name = store_of(studio, panel, visit), names[event.index]
            if first is None or first == name:
                return {panel.chosen: name, panel.first: None} | chosen_updates(panel, store, name, minutes)
            updates = comparison_updates(panel, store, first, name, minutes)
            return {panel.chosen: name, panel.first: None} | updates

    panel.gallery.select(
        choose,
        [panel.visit, panel.names, panel.first, panel.minutes],
        [panel.chosen, panel.first, *shown],
        **QUIET,
    )

    def compare(visit, chosen, first, minutes):
        with shown_on_page():
            updates = chosen_updates(panel, store_of(studio, panel, visit), chosen, minutes)
            if first is not None:
                return {panel.first: None} | updates
            asking = {panel.compare: STOP_COMPARING, panel.about: notice(CHOOSE_SECOND)}
            return {panel.first: chosen} | updates | asking

    panel.compare.click(
        compare, [panel.visit, panel.chosen, panel.first, panel.minutes], [panel.first, *shown], **QUIET
    )

    def delete(visit, chosen, label, latest):
        if label != REALLY:
            return {panel.delete: gr.Button(REALLY, variant="stop")}
        with shown_on_page():
            store_of(studio, panel, visit).delete(chosen)
        changed = {panel.latest: f"{latest}−", panel.chosen: None, panel.first: None}
        return changed | nothing_chosen(panel)

    panel.delete.click(
        delete,
        [panel.visit, panel.chosen, panel.delete, panel.latest],
        [panel.latest, panel.chosen, panel.first, *shown],
        **QUIET,
    )

    def export(visit, words, likeness) -> Iterator[Any]:
        with shown_on_page(), tempfile.TemporaryDirectory() as folder:
            store, archive = store_of(studio, panel, visit), Path(folder) / "instantid-history.zip"
            count = history.pack(store, history.matching(store.entries(), words, likeness), archive)
            size = archive.stat().st_size / 1e6
            label = f"Download {_pictures(count)}, {size:.1f} MB"
            yield gr.DownloadButton(label, value=str(archive), visible=True)

    panel.export.click(export, asked[:3], panel.archive, **QUIET)
    return opened


def list_updates(
    panel: HistoryPanel, store: History, words: str, likeness: float, limit: int, minutes: int
) -> dict[Component, Any]:
    """The list, filtered: small pictures with captions, and how many there are."""
    everything = store.entries()
    found = history.matching(everything, words, likeness)
    shown = found[:limit]
    told = EMPTY if not everything else _count(len(found), len(everything), len(shown)) if found else NO_MATCH
    return {
        panel.said: notice(told),
        panel.gallery: gr.Gallery(
            value=[(str(store.small_picture(entry)), caption(entry, minutes)) for entry in shown],
            selected_index=None,
        ),
        panel.names: [entry.name for entry in shown],
        panel.more: gr.Button(visible=len(found) > limit),
        panel.export: gr.Button(f"Export {_pictures(len(found))} (zip)", visible=bool(found)),
        panel.archive: gr.DownloadButton(visible=False),  # what was packed may be others by now
    }


def chosen_updates(panel: HistoryPanel, store: History, name: str, minutes: int) -> dict[Component, Any]:
    """One picture, large, with its settings in words and what can be done with it."""
    entry, picture = store.get(name), str(store.picture(name))
    return {
        panel.picture: gr.Image(value=picture, visible=True, label=f"Seed {entry.seed}"),
        panel.slider: gr.ImageSlider(value=None, visible=False),
        panel.actions: gr.Row(visible=True),
        panel.compare: COMPARE,
        panel.download: gr.DownloadButton(value=picture),
        panel.delete: gr.Button(DELETE, variant="secondary"),
        panel.about: settings_table(entry, minutes),
    }


def comparison_updates(
    panel: HistoryPanel, store: History, first: str, second: str, minutes: int
) -> dict[Component, Any]:
    """Two pictures under a slider, and in what their settings differ. What can be done is done to the right one."""
    left, right = store.get(first), store.get(second)
    pair, fitted = side_by_side(store.picture(first), store.picture(second))
    return chosen_updates(panel, store, second, minutes) | {
        panel.picture: gr.Image(value=None, visible=False),
        panel.slider: gr.ImageSlider(
            value=pair, visible=True, label=f"Left: seed {left.seed} · right: seed {right.seed}"
        ),
        panel.about: fitted + differences_table(left, right),
    }


def nothing_chosen(panel: HistoryPanel) -> dict[Component, Any]:
    """The right side at rest."""
    return {
        panel.picture: gr.Image(value=None, visible=False),
        panel.slider: gr.ImageSlider(value=None, visible=False),
        panel.actions: gr.Row(visible=False),
        panel.compare: COMPARE,
        panel.delete: gr.Button(DELETE, variant="secondary"),
        panel.about: notice(CHOOSE),
    }


def _count(found: int, everything: int, shown: int) -> str:
    told = _pictures(found) if found == everything else f"{found} of {_pictures(everything)}"
    return told if shown == found else f"{told}; the newest {shown} are shown"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
