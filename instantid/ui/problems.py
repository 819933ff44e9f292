"""Where an error becomes a message on the page: the only place."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from ..errors import InstantIDError

logger = logging.getLogger(__name__)

BUG = "Something broke inside the app. Its log has the details; what you entered is still here."


def explain(error: Exception) -> str:
    """What to tell the person at the page."""
    if isinstance(error, gr.Error):  # Gradio's and ZeroGPU's own words, such as a quota that is used up
        return error.message
    return str(error) if isinstance(error, InstantIDError) else BUG


@contextmanager
def shown_on_page() -> Iterator[None]:
    """Turn what goes wrong inside into a `gr.Error`. Bugs are logged with their traceback, which stays here."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (InstantIDError, gr.Error)):
            logger.exception("A page event failed")
        raise gr.Error(explain(error), print_exception=False) from None
