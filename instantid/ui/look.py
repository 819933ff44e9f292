"""The page's looks, and how to launch it. Nothing here is fetched from the network."""

from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from ..image_files import MAX_BYTES
from .studio import Studio

CSS = """
.gradio-container { max-width: 1320px !important; margin: 0 auto !important;
  overflow: clip !important; } /* hidden, as Gradio has it, would keep Generate from staying in view */
#masthead h1 { font-size: 1.6rem; font-weight: 700; letter-spacing: -.01em; margin: 0; line-height: 1.2; }
#masthead p { margin: .15rem 0 0; color: var(--body-text-color-subdued); }
#masthead .bar { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center;
  justify-content: space-between; }
#masthead .notice { margin-top: .25rem; padding-block: .3rem; font-size: .85rem; }
#masthead .bundle { border: 1px solid var(--border-color-primary); border-radius: 999px;
  padding: .25rem .8rem; font-size: .85rem; background: var(--background-fill-primary); }
#places-group [role=tab][aria-selected=true] { color: var(--body-text-color); font-weight: 600; }
.tight { gap: .4rem !important; }
.hint p { font-size: .8rem !important; color: var(--body-text-color-subdued) !important;
  margin: 0 0 0 .15rem !important; line-height: 1.4; overflow-wrap: anywhere; }
#examples .table-wrap { overflow-x: auto; contain: inline-size; }
#examples td.textbox div { white-space: normal; }
.column:not(:has(*)) { display: none; }
.photos .grid-container { display: flex !important; flex-wrap: wrap; padding-top: 1.7rem; }
.photos .grid-container > * { flex: 1 1 90px; min-width: 90px; height: 100px; }
.photos .thumbnail-lg { height: 100%; width: 100%; aspect-ratio: auto; }
.photos .grid-container img { object-fit: contain; }
#maps .grid-container { grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)) !important;
  padding-top: 1.7rem; }
#pictures .caption { font-size: .8rem; white-space: normal; overflow: visible; }
@media (max-width: 640px) {
  .group.padded { padding-inline: 9px !important; }
  .group .gr-accordion.padded { padding-inline: 7px !important; }
  #examples .container { width: 3.2rem !important; height: 3.2rem !important; }
  #examples :is(td, th) { padding: .35rem !important; }
}
#actions { position: sticky; top: 0; bottom: 0; z-index: 100; padding: .4rem 0;
  background: var(--body-background-fill); }
.label-wrap > span:first-child { text-align: left; }
.group { --layout-gap: 10px; }
.group.padded { padding-block: 8px !important; }
.gradio-container > .main { padding: 10px min(32px, 2.5vw) 16px !important; }
#masthead .html-container { padding-block: 4px; }
#places-group .html-container { padding: 0; }
.group > .label-wrap > span:first-child { font-weight: 700; font-size: 1.05rem; }
.control { border-left: 2px solid var(--border-color-primary); padding-left: .7rem; }
.settings { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .8rem; font-size: .85rem;
  margin: .4rem 0; }
.settings dt { color: var(--body-text-color-subdued); }
.settings dd { margin: 0; overflow-wrap: anywhere; }
#compare-files :is(a, td) { color: var(--body-text-color); }
#compare-files .label-clear-button { display: none; } /* nothing would bring the file back */
#compare-about h3 { font-size: 1rem; font-weight: 700; margin: 0; overflow-wrap: anywhere; }
#history-pictures .grid-container { padding-top: 1.7rem; grid-template-rows: none;
  grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)) !important; }
#history-pictures .thumbnail-lg { aspect-ratio: 3 / 4; height: auto; }
#history-pictures .caption-label { font-size: .72rem; white-space: normal; text-overflow: clip; max-width: 100%;
  left: 0; right: 0; line-height: 1.3; opacity: 1 !important; background: var(--block-background-fill);
  border: 0; }
/* the caption has its place below the picture */
#history-pictures .grid-container img { position: absolute; inset: 0 0 auto; height: calc(100% - 3.4rem); }
.differ, .differ tr { border: 0 !important; }
.differ { border-collapse: collapse; font-size: .85rem; margin: .4rem 0; width: 100%; }
.differ :is(td, th) { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 !important;
  overflow-wrap: anywhere; border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
.differ [scope=row] { font-weight: 400; color: var(--body-text-color-subdued); }
#drop-hint { position: fixed; inset: auto 1rem 1rem; z-index: 1000; margin: auto; width: fit-content;
  padding: .6rem 1rem; border-radius: 8px; pointer-events: none; color: white; background: #0f766e; }
#preview img { width: 100%; height: 100%; object-fit: contain; }
.notice { border-left: 3px solid var(--color-accent); padding: .5rem .8rem; border-radius: 6px;
  background: var(--background-fill-secondary); color: var(--body-text-color); font-size: .9rem; }
.notice.warning { border-color: #d97706; background: color-mix(in srgb, #f59e0b 14%, transparent); }
.status { display: grid; gap: .4rem; min-height: 2.6rem; font-size: .95rem; color: var(--body-text-color); }
.status progress { width: 100%; height: 6px; appearance: none; border: 0; }
.status progress::-webkit-progress-bar { background: var(--border-color-primary); border-radius: 3px; }
.status progress::-webkit-progress-value { background: var(--color-accent); border-radius: 3px; }
.status progress::-moz-progress-bar { background: var(--color-accent); border-radius: 3px; }
.status .detail { color: var(--body-text-color-subdued); font-size: .85rem; }
"""


MAX_UPLOAD = 2_000_000_000  # bytes: a large SDXL LoRA; what is opened as a picture has its own, lower limit


def _theme() -> gr.themes.Base:
    # Gradio ships these fonts; only the regular and bold files of this one hold the whole alphabet.
    return gr.themes.Default(
        primary_hue="teal",
        neutral_hue="stone",
        radius_size="lg",
        font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono"), "ui-monospace", "monospace"],
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        block_title_text_color="*body_text_color",
        block_title_text_weight="600",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
    )


def launch_options(studio: Studio) -> dict[str, Any]:
    """Keyword arguments for `Blocks.launch`: theme, CSS, and the files that the page may show."""
    shown = [example.face for example in studio.examples]
    shown += [example.pose for example in studio.examples if example.pose]
    shown += [style.preview for style in studio.styles.values() if style.preview]
    return {
        "theme": _theme(),
        "css": CSS,
        "footer_links": ["api", "settings"],
        "enable_monitoring": False,  # it would tell anybody how much the page is used
        "run_history": False,  # it would keep people's photos in the browser
        # What `open_image` takes, where only pictures are uploaded: more need not be stored first.
        "max_file_size": MAX_BYTES if studio.weights is None else MAX_UPLOAD,
        "allowed_paths": sorted({str(path.resolve()) for path in shown}),
    }
